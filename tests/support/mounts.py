"""File systems made for a test: small ones, and ones that fail."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from support.programs import missing, require, require_root, run

FREE_BLOCK = 1 << 16
BUSY_SECONDS = 10


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory of this size (``16m``), mounted in a directory that is made."""
    require_root("mount")
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs"):
        yield folder


@contextlib.contextmanager
def ext4(folder: Path, image: Path, megabytes: int) -> Iterator[Path]:
    """An ext4 in a file, which turns read-only at its first error, mounted in a new directory."""
    require_root("mount")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run([require("mkfs.ext4", "e2fsprogs"), "-q", "-F", image])
    with _mounted(folder, "-o", "loop,errors=remount-ro", str(image)):
        yield folder


@contextlib.contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", *options, str(folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        missing(f"mount {' '.join(options)}: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    """Mount it ``ro`` or ``rw`` from now on, as soon as nobody has a file open for writing."""
    deadline = time.monotonic() + BUSY_SECONDS
    command = ["mount", "-o", f"remount,{how}", str(folder)]
    while run(command, expect=None).returncode and time.monotonic() < deadline:
        time.sleep(0.01)  # processes that were killed have to end
    run(command)


def break_ext4(folder: Path) -> None:
    """Have the kernel find an error in an ext4: it takes no write from then on."""
    device = Path(run(["findmnt", "-no", "SOURCE", folder]).stdout.strip()).name
    trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    if not trigger.exists():
        missing(f"this kernel has no {trigger}")
    trigger.write_text("asked for by a test\n")


def free(folder: Path) -> int:
    """Bytes that anybody may still write."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The file system without any room, because of somebody else's file."""
    filler = folder / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        _fill(descriptor)
        yield
    finally:
        os.close(descriptor)
        filler.unlink()


def _fill(descriptor: int) -> None:
    size, block = 0, FREE_BLOCK
    while block >= 512:
        try:
            os.posix_fallocate(descriptor, size, block)
            size += block
        except OSError:
            block //= 2
