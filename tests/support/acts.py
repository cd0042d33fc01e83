"""The commit paths of a registry, each as a play (support.plays): what it does and then promises."""

from support.opened import DAY, NOTHING, answered
from support.plays import (
    LAYER,
    OTHER_LAYER,
    KeysPromise,
    ManifestPromise,
    Play,
    SessionPromise,
    blob,
    keys_of,
)
from support.storage import APP, OTHER, image, index_of

from registry_wsgi.errors import DIGEST_INVALID
from registry_wsgi.names import Digest, Tag
from registry_wsgi.storage import secrets
from registry_wsgi.storage.base import Actor
from registry_wsgi.storage.locks import FileLock

CONFIG = b"{}"
IMAGE, OTHER_IMAGE = image(LAYER), image(OTHER_LAYER)
LATEST = Tag("latest")
ACTOR = Actor("test")


def push_image(play: Play, layer: bytes, manifest: bytes, *tags: str) -> Digest:
    """Push all of an image, as a setting."""
    for content in (layer, CONFIG):
        play.registry.push(APP, content)
    digest = play.registry.put(APP, Digest.of(manifest), manifest, *tags)
    play.promise(ManifestPromise(APP, digest), manifest)
    play.promise(blob(layer), layer)
    return digest


def upload_in_one_patch(play: Play) -> None:
    """POST, PATCH, PUT: what Docker does."""
    play.begin()
    uuid = play.registry.uploads.start(APP).upload.uuid
    session = SessionPromise(APP, uuid, LAYER)
    play.promise(session, b"", None)  # of a session without bytes nothing is promised
    play.registry.send(APP, uuid, 0, LAYER[:5000], LAYER[5000:])
    play.promise(session, LAYER, None)
    play.promise(blob(LAYER), None, LAYER)
    play.registry.finish(APP, uuid, len(LAYER), LAYER)
    play.promise(session)
    play.promise(blob(LAYER), LAYER)


def upload_in_one_put(play: Play) -> None:
    """POST, and a PUT with all of the bytes: what containerd does."""
    play.begin()
    uuid = play.registry.uploads.start(APP).upload.uuid
    session = SessionPromise(APP, uuid, LAYER)
    play.promise(session, b"", None)
    play.promise(blob(LAYER), None, LAYER)
    play.registry.finish(APP, uuid, 0, LAYER)
    play.promise(session)
    play.promise(blob(LAYER), LAYER)


def upload_in_pieces(play: Play) -> None:
    """Two chunks, and the last one in the PUT."""
    play.begin()
    uuid = play.registry.uploads.start(APP).upload.uuid
    session = SessionPromise(APP, uuid, LAYER)
    for end in (4096, 6000):
        offset = play.registry.uploads.status(APP, uuid).offset
        play.registry.send(APP, uuid, offset, LAYER[offset:end])
        play.promise(session, LAYER[:end])
    play.promise(session, LAYER[:6000], None)
    play.promise(blob(LAYER), None, LAYER)
    play.registry.finish(APP, uuid, 6000, LAYER)
    play.promise(session)
    play.promise(blob(LAYER), LAYER)


def upload_that_breaks(play: Play) -> None:
    """A connection that ends in the middle of a chunk; the client goes on on another."""
    play.begin()
    uuid = play.registry.uploads.start(APP).upload.uuid
    session = SessionPromise(APP, uuid, LAYER)
    play.registry.send_and_break(APP, uuid, 0, LAYER[:7000])
    play.promise(session, LAYER[:7000])
    play.registry.send(APP, uuid, 7000, LAYER[7000:])
    play.promise(session, LAYER)


def upload_that_is_cancelled(play: Play) -> None:
    """DELETE of a session with bytes in it."""
    uuid = play.registry.uploads.start(APP).upload.uuid
    play.registry.send(APP, uuid, 0, LAYER)
    play.begin()
    play.promise(SessionPromise(APP, uuid, LAYER), LAYER, None)
    play.registry.uploads.cancel(APP, uuid)
    play.promise(SessionPromise(APP, uuid, LAYER), None)


def upload_with_the_wrong_digest(play: Play) -> None:
    """The end of a session whose bytes are not what the client says."""
    uuid = play.registry.uploads.start(APP).upload.uuid
    play.registry.send(APP, uuid, 0, LAYER)
    play.begin()
    with answered(DIGEST_INVALID):
        wrong = Digest.of(OTHER_LAYER)
        play.registry.uploads.finish(APP, uuid, len(LAYER), wrong, NOTHING)
    play.promise(blob(LAYER), None)


def push_in_one_request(play: Play) -> None:
    """A monolithic POST."""
    play.begin()
    play.promise(blob(LAYER), None, LAYER)
    play.registry.push(APP, LAYER)
    play.promise(blob(LAYER), LAYER)


def push_again(play: Play) -> None:
    """A push of what an image needs and is there: its file is replaced."""
    push_image(play, LAYER, IMAGE, "latest")
    play.begin()
    play.registry.push(APP, LAYER)
    play.registry.push(OTHER, LAYER)
    play.promise(blob(LAYER, OTHER), LAYER)


def mount(play: Play) -> None:
    """A blob of another repository."""
    play.registry.push(APP, LAYER)
    play.promise(blob(LAYER), LAYER)
    play.begin()
    play.promise(blob(LAYER, OTHER), None, LAYER)
    play.registry.uploads.mount(OTHER, Digest.of(LAYER), APP)
    play.promise(blob(LAYER, OTHER), LAYER)


def push_of_manifests(play: Play) -> None:
    """A tag made, moved, and an index on it."""
    play.begin()
    push_image(play, LAYER, IMAGE)
    tag = ManifestPromise(APP, LATEST)
    play.promise(tag, None, IMAGE)
    play.registry.put(APP, LATEST, IMAGE)
    play.promise(tag, IMAGE)
    push_image(play, OTHER_LAYER, OTHER_IMAGE)
    listing = index_of(IMAGE, OTHER_IMAGE)
    play.promise(tag, IMAGE, listing)
    play.registry.put(APP, LATEST, listing)
    play.promise(tag, listing)


def deletion(play: Play) -> None:
    """A tag, a manifest, a blob and a repository go, one after the other."""
    digest = push_image(play, LAYER, IMAGE, "latest")
    play.registry.push(OTHER, LAYER)
    play.promise(blob(LAYER, OTHER), LAYER)
    play.begin()
    tag, manifest = ManifestPromise(APP, LATEST), ManifestPromise(APP, digest)
    play.promise(tag, IMAGE, None)
    play.registry.manifests.delete(APP, LATEST, ACTOR)
    play.promise(tag, None)
    play.promise(manifest, IMAGE, None)
    play.registry.manifests.delete(APP, digest, ACTOR)
    play.promise(manifest, None)
    play.promise(blob(LAYER), LAYER, None)
    play.registry.blobs.delete(APP, Digest.of(LAYER))
    play.promise(blob(LAYER), None)
    play.registry.storage.index.manifests.delete_repository(APP, ACTOR)


def collection(play: Play) -> None:
    """A run of gc over an image in use, a blob that nobody needs, a session and stray files."""
    push_image(play, OTHER_LAYER, OTHER_IMAGE, "latest")
    play.registry.push(APP, LAYER)
    uuid = play.registry.uploads.start(APP).upload.uuid
    play.registry.send(APP, uuid, 0, LAYER[:100])
    with play.registry.storage.store.create("stray") as staged:
        staged.write(b"of no session")
    play.clock.milliseconds += 2 * DAY
    play.begin()
    play.promise(blob(LAYER), LAYER, None)
    play.registry.collect()
    play.promise(blob(LAYER), None)


def push_of_what_is_doomed(play: Play) -> None:
    """A client that saw 404 uploads a blob while gc is about to remove its bytes."""
    play.registry.push(APP, LAYER)
    play.begin()
    play.promise(blob(LAYER), LAYER, None)

    def push_then(step: str) -> None:
        if step == "doomed":
            play.registry.push(APP, LAYER)
            play.promise(blob(LAYER), LAYER)

    list(play.registry.collector(pause=push_then).run())


def rotation(play: Play) -> None:
    """A new signing key."""
    root = play.recorder.root
    before = keys_of(play)
    play.begin()
    lock = FileLock(root / "locks" / "write")
    secrets.rotate(root / secrets.NAME, lock, play.ops, keep=1)
    play.promise(KeysPromise(), keys_of(play))
    assert before in keys_of(play)


def first_start(play: Play) -> None:
    """Everything from an empty place to the first push."""
    play.begun = 0
    push_image(play, LAYER, IMAGE, "latest")
    play.promise(KeysPromise(), keys_of(play))


ACTS = (
    upload_in_one_patch,
    upload_in_one_put,
    upload_in_pieces,
    upload_that_breaks,
    upload_that_is_cancelled,
    upload_with_the_wrong_digest,
    push_in_one_request,
    push_again,
    mount,
    push_of_manifests,
    deletion,
    collection,
    push_of_what_is_doomed,
    rotation,
    first_start,
)
