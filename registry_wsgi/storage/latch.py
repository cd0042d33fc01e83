"""The flag that a failed sync raises: from then on nobody can say what is on the disk."""

import logging
import os
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.fsops import FileOps

LOG: Final = logging.getLogger(__name__)

NAME: Final = "io-error"


class Latch:
    """A file that all workers see. Only an operator's start, after fsck has passed, removes it."""

    def __init__(self, data: Path, ops: FileOps) -> None:
        self._path = data / NAME
        self._name = str(self._path)
        self._ops = ops
        self._raised = False

    def set(self) -> None:
        """Refuse writes from now on, in every process."""
        if self._raised:
            return  # also when it is syncing the flag that fails
        self._raised = True
        LOG.critical("a sync failed: writes are refused until the registry is started anew")
        try:
            os.close(self._ops.create(self._path))
            self._ops.sync_directory(self._path.parent)
        except FileExistsError:
            return
        except (OSError, StorageFault) as error:
            LOG.critical("the flag %s cannot be written durably: %s", self._path, error)

    def is_set(self) -> bool:
        """Whether writes are refused; raises OSError where that cannot be known."""
        if self._raised:
            return True
        try:
            os.stat(self._name)  # noqa: PTH116 - asked in each request
        except FileNotFoundError:
            return False
        return True

    def clear(self) -> None:
        """Accept writes again: fsck has passed, at an operator's start."""
        self._raised = False
        self._ops.unlink(self._path)
