"""A lock holds across threads and processes, and is free when its holder is gone."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.contenders import (
    count_under_lock,
    die_holding_after_a_fork,
    hold_lock,
    lock_over_a_fork,
    wait_for_lock,
)
from support.processes import child, run_together
from support.storage import refused
from support.waiting import wait_until

from registry_wsgi.errors import UNAVAILABLE, StorageFault
from registry_wsgi.storage.locks import DigestLocks, FileLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A lock's file, which nobody has made yet."""
    return tmp_path / "lock"


def is_free(path: Path) -> bool:
    """Whether somebody new can take the lock at this moment."""
    with FileLock(path).trying() as held:
        return held


def test_a_lock_is_held_until_the_end_of_the_block(path: Path) -> None:
    """Nobody else gets it inside the block, everybody after it."""
    with FileLock(path).held():
        inside = is_free(path)

    assert not inside
    assert is_free(path)


def test_a_lock_is_let_go_when_the_block_fails(path: Path) -> None:
    """An error in the block does not leave the lock behind."""
    lock = FileLock(path)
    with pytest.raises(KeyError), lock.held():
        raise KeyError

    assert is_free(path)
    with lock.held():
        assert not is_free(path)


def test_a_lock_that_stays_taken_is_given_up(path: Path) -> None:
    """A thread that waits for longer than the timeout is told to come again later."""
    lock = FileLock(path, timeout=0.01)

    def waits() -> None:
        with refused(UNAVAILABLE) as caught, lock.held():
            pass
        assert caught.value.headers == (("Retry-After", "1"),)

    with lock.held(), ThreadPoolExecutor() as pool:
        pool.submit(waits).result()

    assert is_free(path)


def test_a_lock_of_another_process_is_given_up(path: Path) -> None:
    """Where nobody queues in the kernel, a process that holds the lock for long is given up on."""
    with child(hold_lock, path) as holder:
        holder.hear()
        with refused(UNAVAILABLE), FileLock(path, timeout=0.01, queueing=False).held():
            pass

        assert not is_free(path)
        holder.say()
        holder.finish()
    with FileLock(path, timeout=0.01, queueing=False).held():
        assert not is_free(path)


def test_a_lock_is_not_reentrant(path: Path) -> None:
    """A thread that asks for what it has is refused after the timeout and keeps what it has."""
    lock = FileLock(path, timeout=0.01)
    with lock.held():
        with refused(UNAVAILABLE), lock.held():
            pass

        assert not is_free(path)


def test_trying_takes_a_free_lock(path: Path) -> None:
    """Whoever tries a lock that nobody has holds it until the end of the block."""
    with FileLock(path).trying() as held:
        inside = is_free(path)

    assert held
    assert not inside
    assert is_free(path)


@pytest.mark.parametrize("same", [True, False], ids=["of this object", "of another"])
def test_trying_a_taken_lock_does_not_wait(path: Path, same: bool) -> None:
    """Whoever tries a taken lock is told so at once, and does not free it afterwards."""
    lock = FileLock(path)
    with lock.held():
        with (lock if same else FileLock(path)).trying() as held:
            pass

        assert not held
        assert not is_free(path)
    assert is_free(path)


def test_threads_take_turns(path: Path) -> None:
    """Of many threads under one lock, only one is ever in the block."""
    lock = FileLock(path)
    barrier = threading.Barrier(8)
    inside: list[int] = []
    most: list[int] = []

    def enter(number: int) -> None:
        barrier.wait()
        for _ in range(20):
            with lock.held():
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(8)))

    assert most == [1] * 160


def test_processes_take_turns(path: Path, tmp_path: Path) -> None:
    """Processes that read, add and write under the lock lose no addition."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    run_together(count_under_lock, *[(path, counter, 50)] * 4)

    assert counter.read_text() == "200"


def test_another_process_is_kept_out(path: Path) -> None:
    """A lock that another process holds is taken, and free when that lets go."""
    with child(hold_lock, path) as holder:
        holder.hear()
        taken = not is_free(path)
        holder.say()
        holder.finish()

    assert taken
    assert is_free(path)


def test_a_lock_is_free_when_its_holder_is_killed(path: Path) -> None:
    """The kernel frees the lock of a process that gets SIGKILL, and wakes who waits for it."""
    with child(hold_lock, path) as holder:
        holder.hear()
        with child(wait_for_lock, path) as waiter:
            waiter.hear()
            holder.kill()

            assert waiter.hear() == "held"
            waiter.finish()

    assert is_free(path)


def test_a_lock_is_not_inherited(path: Path) -> None:
    """A fork of the holder is kept out like anybody else, and frees nothing by trying."""
    with child(lock_over_a_fork, path) as process:
        answers = process.hear() | process.hear() | process.hear()
        process.finish()

    assert answers == {
        "the fork, while it is held": False,
        "another, after the fork has tried": False,
        "the fork, when it is free": True,
    }


def test_a_fork_does_not_keep_a_dead_holders_lock(path: Path) -> None:
    """A lock is free when its holder is killed, even while a fork of that process lives on."""
    with child(die_holding_after_a_fork, path) as holder:
        fork = holder.hear()
        try:
            holder.kill()

            # The fork may not have come to it yet.
            wait_until(lambda: is_free(path), "the fork lets go of the lock")
        finally:
            os.kill(fork, signal.SIGKILL)


def test_a_lock_file_is_private(path: Path) -> None:
    """Nobody but the registry's user may hold the registry up."""
    with FileLock(path).held():
        pass

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_is_no_symbolic_link(path: Path, tmp_path: Path) -> None:
    """A lock that somebody made a link of is not followed."""
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StorageFault) as caught, FileLock(path).held():
        pass

    assert caught.value.path == str(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_digest_has_the_lock_of_its_first_byte(tmp_path: Path) -> None:
    """Digests share a lock when they begin alike, and only then."""
    locks = DigestLocks(tmp_path)

    assert locks.of("ab" + "0" * 62) is locks.of("ab" + "f" * 126)
    assert len({id(locks.of(f"{byte:02x}" + "0" * 62)) for byte in range(256)}) == 256
