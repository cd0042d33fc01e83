"""gc in a process of its own that stops at a step: runs in a child (support.processes)."""

from pathlib import Path

from support.processes import Pipe

from registry_wsgi.services.gc import CollectorService
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import open_data

DAY = 86_400_000


def collect_stopping_at(pipe: Pipe, data: Path, *steps: str) -> None:
    """Collect without grace; at the first of each step say so and wait; say how much was removed."""
    storage = open_data(data, FileOps())
    left = [*steps]

    def pause(at: str) -> None:
        if at in left:
            left.remove(at)
            pipe.send(at)
            pipe.recv()

    index, store = storage.index, storage.store
    collector = CollectorService(index.collection, store, storage.clock, 0, DAY, pause=pause)
    with storage.collecting.held():
        pipe.send(len(list(collector.run())))
    index.database.close()
