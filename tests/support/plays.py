"""What a registry does, step by step, with what it has promised after each step: for crash tests."""

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from support.crashing import Event, Recorder, RecordingDatabase, RecordingOps, State
from support.images import noise
from support.opened import DAY, Opened, opened
from support.storage import APP, FakeClock

from registry_wsgi.errors import RegistryError, StorageFault
from registry_wsgi.names import Digest, Name, Reference
from registry_wsgi.storage import secrets
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.sqlite.database import Database

Allowed = tuple[bytes | None, ...]
"""The contents that may be found, ``None`` for none."""


class Promise(Protocol):
    """What a client was told is there. Hashable: it names the thing."""

    def broken(self, found: Opened, allowed: Allowed) -> str | None:
        """What is wrong, now that the registry was opened again; ``None`` when nothing is."""
        ...


Promises = Mapping[Promise, Allowed]


@dataclass(frozen=True)
class BlobPromise:
    """A blob that a repository serves."""

    repository: Name
    digest: Digest

    def broken(self, found: Opened, allowed: Allowed) -> str | None:
        """Whether a pull gets other bytes than it may."""
        content = found.read(self.repository, self.digest)
        return None if content in allowed else f"{self}: {_shown(content)}"


@dataclass(frozen=True)
class ManifestPromise:
    """What a tag or digest names."""

    repository: Name
    reference: Reference

    def broken(self, found: Opened, allowed: Allowed) -> str | None:
        """Whether a pull gets another manifest than it may."""
        content = found.manifest(self.repository, self.reference)
        return None if content in allowed else f"{self}: {_shown(content)}"


@dataclass(frozen=True)
class SessionPromise:
    """An open upload session that is to become ``content``; allowed is what was acknowledged."""

    repository: Name
    uuid: str
    content: bytes

    def broken(self, found: Opened, allowed: Allowed) -> str | None:
        """Whether fewer bytes are there than may be, or the upload cannot be brought to an end."""
        try:
            offset = found.uploads.status(self.repository, self.uuid).offset
        except RegistryError:
            return None if None in allowed else f"{self.uuid}: no such session"
        if offset < min(len(sent) for sent in allowed if sent is not None):
            return f"{self.uuid}: only {offset} bytes"
        try:
            digest = found.finish(self.repository, self.uuid, offset, self.content)
        except RegistryError as error:
            return f"{self.uuid}: cannot be finished at {offset}: {error}"
        return BlobPromise(self.repository, digest).broken(found, (self.content,))


@dataclass(frozen=True)
class KeysPromise:
    """The keys that sign."""

    def broken(self, found: Opened, allowed: Allowed) -> str | None:
        """Whether other keys are in use."""
        keys = b"\n".join(found.storage.keys())
        return None if keys in allowed else "the secret is another"


def _shown(content: bytes | None) -> str:
    return "not there" if content is None else f"{len(content)} bytes, {content[:20]!r}"


@dataclass
class Play:
    """One scenario as it goes on. What comes before ``begin`` is only its setting."""

    registry: Opened
    recorder: Recorder
    ops: FileOps
    clock: FakeClock
    promises: Promises = field(default_factory=dict)
    begun: int = 0

    def begin(self) -> None:
        """From here on a crash may come."""
        self.begun = len(self.recorder.events)

    def promise(self, promise: Promise, *allowed: bytes | None) -> None:
        """From here on one of these is to be found; nothing given, nothing is promised."""
        self.promises = {**self.promises, promise: allowed}
        if not allowed:
            self.promises = {key: value for key, value in self.promises.items() if key != promise}
        self.recorder.add("expect", self.promises)


@dataclass(frozen=True)
class Making:
    """How the registry of a play is made: what it syncs with may be broken on purpose."""

    ops: type[RecordingOps] = RecordingOps
    database: type[RecordingDatabase] = RecordingDatabase

    @contextlib.contextmanager
    def open(self, recorder: Recorder, ops: FileOps, clock: FakeClock) -> Iterator[Opened]:
        """A registry whose every step is recorded."""

        def recording(made: Database) -> Database:
            database = self.database(made.path, made.lock)
            database.recorder = recorder
            return database

        with opened(recorder.root, ops, clock, recording) as registry:
            yield registry


HONEST = Making()


@dataclass(frozen=True)
class Performance:
    """How often the curtain fell, and which promises were broken then."""

    operations: int
    states: int
    broken: list[str]


def perform(
    act: Callable[[Play], None],
    folder: Path,
    *,
    making: Making = HONEST,
    most_states: int = 10,
    seed: int = 0,
) -> Performance:
    """Let a play run, then crash after each of its operations and look at what is left.

    ``most_states`` is how many different states are looked at after one operation.
    """
    recorder = Recorder(folder / "stage")
    ops, clock = making.ops(recorder), FakeClock()
    with making.open(recorder, ops, clock) as registry:
        play = Play(registry, recorder, ops, clock)
        act(play)
    return crash_everywhere(recorder, play.begun, folder, most_states=most_states, seed=seed)


def crash_everywhere(
    recorder: Recorder, since: int, folder: Path, *, most_states: int = 10, seed: int = 0
) -> Performance:
    """Crash after each event from number ``since`` on."""
    chance = random.Random(seed)  # noqa: S311 - which crashes are tried, not a secret
    seen: set[int] = set()
    looked_at: dict[int, int] = {}
    broken: list[str] = []
    for number, state, promises in recorder.crashes(since, chance):
        key = hash((frozenset(state.files.items()), state.directories, state.rebooted))
        key = hash((key, tuple(promises.items())))
        if key in seen or looked_at.get(number, 0) >= most_states:
            continue
        seen.add(key)
        looked_at[number] = looked_at.get(number, 0) + 1
        where = folder / f"crash-{len(seen)}"
        after = _shown_event(recorder.events[number])
        state.write_to(where)
        broken += [f"{number} {after}: {fault}" for fault in faults(where, state, promises)]
        shutil.rmtree(where)
    return Performance(len(recorder.events) - since, len(seen), broken)


def _shown_event(event: Event) -> str:
    words = [str(word) for word in event.arguments if not isinstance(word, bytes | dict)]
    return " ".join([event.kind, *words])


def faults(data: Path, state: State, promises: Promises) -> list[str]:
    """What is wrong with a registry that is opened after a crash."""
    boot = "second boot" if state.rebooted else "first boot"
    clock = FakeClock(2_000_000, boot)
    try:
        with opened(data, clock=clock) as found:
            return [*_broken(found, promises), *_left_over(found, promises, clock)]
    except StorageFault as fault:
        return [f"cannot be opened: {fault.reason} ({fault.cause})"]


def _broken(found: Opened, promises: Promises) -> Iterator[str]:
    for finding in found.problems():
        yield f"fsck: {finding.what}: {finding.message}"
    for promise, allowed in promises.items():
        if (fault := promise.broken(found, allowed)) is not None:
            yield fault


def _left_over(found: Opened, promises: Promises, clock: FakeClock) -> Iterator[str]:
    """What a run of gc leaves, once every session has expired: nothing but what is needed."""
    clock.milliseconds += 2 * DAY
    list(found.collector(grace=0).run())
    for finding in found.fsck():
        yield f"after gc: {finding.what}: {finding.message}"
    for promise, allowed in promises.items():
        if isinstance(promise, ManifestPromise):
            fault = promise.broken(found, allowed)
            if fault is not None:
                yield f"after gc: {fault}"


LAYER = noise(10_000, "layer")
OTHER_LAYER = noise(10_000, "other layer")


def blob(content: bytes, repository: Name = APP) -> BlobPromise:
    """The promise of a blob."""
    return BlobPromise(repository, Digest.of(content))


def keys_of(play: Play) -> bytes:
    """The keys in the secret's file."""
    return b"\n".join(secrets.read(play.recorder.root / secrets.NAME))
