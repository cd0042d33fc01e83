"""Backup and restore: every blob first, then the index, then what is no longer needed goes.

Garbage collection is held off by the caller, so that each blob of the index has its file until it
was copied. Pushes go on: what they add after the index was taken is in the next backup.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from registry_wsgi.names import Digest
from registry_wsgi.storage.backups import DAMAGED, KEPT, MISSING, Extent, RegistryCopy

REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Step:
    """What was done about one blob. ``how``: present, cloned, linked, copied, or a problem."""

    digest: Digest
    how: str
    size: int = 0

    @property
    def is_problem(self) -> bool:
        """Whether the blob was lost: its file is missing, of another size, or in the copy alone."""
        return self.how in {KEPT, MISSING, DAMAGED}


@dataclass(slots=True)
class CopyReport:
    """What one run did."""

    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    problems: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Count a step."""
        self.counts[step.how] = self.counts.get(step.how, 0) + 1
        if step.is_problem:
            self.problems.append(step)
        self.size += step.size


@dataclass(frozen=True, slots=True)
class CopyService:
    """One copy of a registry, whichever way."""

    copy: RegistryCopy

    def run(self, begun: Callable[[Extent], None]) -> Iterator[Step]:
        """Copy, yielding each step when it is done; ``begun`` is told first how much there is.

        Raises StorageFault, and then the target is what it was before.
        """
        with self.copy.opened():
            begun(self.copy.extent())
            for row in self.copy.blobs():
                yield Step(row.digest, self.copy.keep(row), row.size)
            for digest in self.copy.lost():
                yield Step(digest, MISSING)
            self.copy.publish()
            for digest in self.copy.prune():
                yield Step(digest, REMOVED)
