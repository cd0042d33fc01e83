"""What the tests of operating a registry have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.conftest import buildah, crane, docker, environment, oras, skopeo
from support.copies import put_image
from support.opened import opened
from support.storage import memory_directory

__all__ = ["buildah", "crane", "docker", "environment", "oras", "skopeo"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory in memory, for what says nothing of disks."""
    with memory_directory() as path:
        yield path


@pytest.fixture
def data(folder: Path) -> Path:
    """A data directory in it with two images, whose server has ended."""
    with opened(folder / "data") as here:
        put_image(here, b"first")
        put_image(here, b"second")
    return folder / "data"
