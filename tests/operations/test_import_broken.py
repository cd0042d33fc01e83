"""``import-distribution`` from files that are broken: told, mended where that is safe, and gone on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.commands import registry_wsgi
from support.copies import standing
from support.foreign import Tree, write
from support.images import MANIFEST, descriptor, encode, sha256
from support.opened import opened
from support.pushes import image
from support.storage import index_of
from support.transfers import tags_in

from registry_wsgi import wiring_transfer
from registry_wsgi.names import Name, Tag
from registry_wsgi.oci import MANIFEST_LIMIT, OCI_INDEX, OCI_MANIFEST
from registry_wsgi.services.adopting import AdoptionService

LAYER = b"a layer"
CONFIG = b'{"of":"%b"}' % sha256(LAYER).encode()
BODY = encode(image(CONFIG, LAYER))
DIGEST, LAYER_DIGEST = sha256(BODY), sha256(LAYER)
OTHER = sha256(b"something else")


@pytest.fixture(autouse=True)
def _nobody_is_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is about to fill an empty file in these trees."""
    monkeypatch.setattr(wiring_transfer, "WRITING_SECONDS", 0)


@pytest.fixture
def tree(folder: Path) -> Tree:
    """An image ``app:tag``, and one in another repository, which nothing is wrong with."""
    made = Tree(folder / "tree")
    made.put_image("app", LAYER, "tag")
    made.put_image("fine", b"fine", "tag")
    return made


Break = Callable[[Tree], object]
Found = set[tuple[str, bool]]


@dataclass(frozen=True)
class Case:
    """What is broken, the kinds of findings with whether something is lost, and what is here."""

    broken: Break
    found: Found
    tags: set[str]


def put(tree: Tree, body: bytes, tag: str = "new") -> str:
    """Add a manifest and a tag on it to the repository."""
    return tree.put_manifest("app", body, tag)


def add_index(tree: Tree, *children: bytes) -> None:
    """Add an index of these manifests."""
    put(tree, index_of(*children))


def break_child(tree: Tree) -> None:
    """Add an index of two, of which one lacks a layer."""
    tree.put_image("app", b"lost")
    add_index(tree, BODY, encode(image(b'{"of":"%b"}' % sha256(b"lost").encode(), b"lost")))
    tree.data(sha256(b"lost")).unlink()


def signed(tree: Tree) -> None:
    """Add a manifest of schema 1."""
    put(tree, encode({"schemaVersion": 1, "name": "app", "tag": "new", "fsLayers": []}))


def make_directory(path: Path) -> None:
    """Put a directory in the place of a file."""
    path.unlink()
    path.mkdir()


GONE = ("missing blob", False), ("missing blob", True), ("dangling tag", True)
CASES = {
    "nothing": Case(lambda tree: tree, set(), {"tag"}),
    "a layer is missing": Case(lambda tree: tree.data(LAYER_DIGEST).unlink(), {*GONE}, set()),
    "a layer that nobody needs is missing": Case(
        lambda tree: tree.data(tree.put_blob("app", b"left")).unlink(),
        {("missing blob", False)},
        {"tag"},
    ),
    "a layer has other bytes": Case(
        lambda tree: tree.data(LAYER_DIGEST).write_bytes(b"A LAYER"),
        {("wrong digest", True), ("missing blob", True), ("dangling tag", True)},
        set(),
    ),
    "a layer is empty": Case(
        lambda tree: tree.data(LAYER_DIGEST).write_bytes(b""),
        {("wrong digest", True), ("missing blob", True), ("dangling tag", True)},
        set(),
    ),
    "a layer cannot be read": Case(
        lambda tree: make_directory(tree.data(LAYER_DIGEST)),
        {("unreadable", True), ("missing blob", True), ("dangling tag", True)},
        set(),
    ),
    "a layer's link is empty": Case(
        lambda tree: tree.link("app", "_layers", LAYER_DIGEST).write_bytes(b""),
        {("zero-byte link", False)},
        {"tag"},
    ),
    "a layer's link is full of zeros": Case(
        lambda tree: tree.link("app", "_layers", LAYER_DIGEST).write_bytes(bytes(71)),
        {("zero-byte link", False)},
        {"tag"},
    ),
    "a layer's link names another": Case(
        lambda tree: tree.link("app", "_layers", LAYER_DIGEST).write_text(OTHER),
        {("wrong digest", False)},
        {"tag"},
    ),
    "a layer's link is missing": Case(
        lambda tree: tree.link("app", "_layers", LAYER_DIGEST).unlink(), set(), {"tag"}
    ),
    "a layer is of an unknown algorithm": Case(
        lambda tree: write(tree.link("app", "_layers", f"md5:{'0' * 32}"), b"md5:0"),
        {("wrong digest", True)},
        {"tag"},
    ),
    "a manifest is missing": Case(
        lambda tree: tree.data(DIGEST).unlink(),
        {("missing blob", True), ("dangling tag", True)},
        set(),
    ),
    "a manifest has other bytes": Case(
        lambda tree: tree.data(DIGEST).write_bytes(BODY + b" "),
        {("wrong digest", True), ("dangling tag", True)},
        set(),
    ),
    "a manifest is empty": Case(
        lambda tree: tree.data(DIGEST).write_bytes(b""),
        {("wrong digest", True), ("dangling tag", True)},
        set(),
    ),
    "a manifest's link is empty": Case(
        lambda tree: tree.revision("app", DIGEST).write_bytes(b""),
        {("zero-byte link", False)},
        {"tag"},
    ),
    "a manifest's link is missing": Case(
        lambda tree: tree.revision("app", DIGEST).unlink(), {("dangling tag", True)}, set()
    ),
    "a tag's link is empty": Case(
        lambda tree: tree.current("app", "tag").write_bytes(b""),
        {("zero-byte link", True)},
        set(),
    ),
    "a tag names what is not there": Case(
        lambda tree: tree.current("app", "tag").write_text(OTHER),
        {("dangling tag", True)},
        set(),
    ),
    "a tag's link is missing": Case(lambda tree: tree.current("app", "tag").unlink(), set(), set()),
    "a tag cannot be one": Case(
        lambda tree: write(tree.current("app", "-"), DIGEST.encode()), {("no name", True)}, {"tag"}
    ),
    "a repository cannot be one": Case(
        lambda tree: tree.put_image("UPPER", LAYER), {("no name", True)}, {"tag"}
    ),
    "schema 1": Case(signed, {("schema1", True), ("dangling tag", True)}, {"tag"}),
    "a manifest that is none": Case(
        lambda tree: put(tree, b"[]"),
        {("refused manifest", True), ("dangling tag", True)},
        {"tag"},
    ),
    "a manifest with a name twice": Case(
        lambda tree: put(tree, BODY.replace(b"{", b'{"schemaVersion":2,', 1)),
        {("refused manifest", True), ("dangling tag", True)},
        {"tag"},
    ),
    "a manifest too long": Case(
        lambda tree: put(tree, BODY + b" " * MANIFEST_LIMIT),
        {("refused manifest", True), ("dangling tag", True)},
        {"tag"},
    ),
    "a manifest with a wrong size": Case(
        lambda tree: put(tree, BODY.replace(b'"size":7', b'"size":8')),
        {("refused manifest", True), ("dangling tag", True)},
        {"tag"},
    ),
    "an index without a child": Case(
        lambda tree: add_index(tree, BODY, b"{}"), {("sparse index", False)}, {"tag", "new"}
    ),
    "an index with a broken child": Case(
        break_child,
        {("missing blob", False), ("missing blob", True), ("sparse index", False)},
        {"tag", "new"},
    ),
    "an open upload": Case(
        lambda tree: write(tree.top / "repositories/app/_uploads/1/data", b"half"), set(), {"tag"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_broken_is_told_and_the_rest_taken(tree: Tree, folder: Path, case: Case) -> None:
    """Each thing that is wrong is told, with whether anything is lost by it; the rest is here."""
    case.broken(tree)
    ended = registry_wsgi(
        "import-distribution", tree.root, "--verify", "--json", data=folder / "data", expect=None
    )
    said = ended.json()
    lost = any(lost for _, lost in case.found)
    with opened(folder / "data") as here:
        problems = here.problems()

    assert {(one["kind"], one["lost"]) for one in said["findings"]} - {("differs", True)} == (
        case.found
    )
    assert (ended.status, bool(said["lost"])) == (int(lost), lost)
    assert set(tags_in(folder / "data", Name("app"))) == case.tags
    assert set(tags_in(folder / "data", Name("fine"))) == {"tag"}
    assert problems == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_broken_is_foretold(tree: Tree, folder: Path, case: Case) -> None:
    """A dry run tells the same but for what takes hashing, and changes nothing."""
    case.broken(tree)
    with opened(folder / "data"):
        pass
    before = standing(folder / "data")
    words = ("import-distribution", tree.root, "--dry-run", "--json")
    ended = registry_wsgi(*words, data=folder / "data", expect=None)
    found = {(one["kind"], one["lost"]) for one in ended.json()["findings"]}

    assert found <= case.found
    assert tags_in(folder / "data", Name("fine")) == {}
    assert standing(folder / "data") == before


def test_what_would_be_taken_is_foretold_before_there_is_a_registry(
    tree: Tree, folder: Path
) -> None:
    """A dry run into a data directory that is not there counts what an import takes; none is made."""
    words = ("import-distribution", tree.root, "--json")
    foretold = registry_wsgi(*words, "--dry-run", data=folder / "data").json()
    was_made = (folder / "data").exists()
    taken = registry_wsgi(*words, data=folder / "data").json()

    assert not was_made
    assert sum(foretold["counts"].values()) == sum(taken["counts"].values()) > 0


def test_a_mended_registry_catches_up(tree: Tree, folder: Path) -> None:
    """What was broken is taken by the next run, once it has been mended there."""
    tree.data(LAYER_DIGEST).unlink()
    registry_wsgi("import-distribution", tree.root, data=folder / "data", expect=1)
    tree.data(LAYER_DIGEST).write_bytes(LAYER)
    registry_wsgi("import-distribution", tree.root, "--verify", data=folder / "data")

    assert tags_in(folder / "data", Name("app")) == {"tag": DIGEST}


def test_what_was_being_written_is_taken(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links that a running registry fills a moment later are no findings, and the tag comes."""
    links = [
        tree.current("app", "tag"),
        tree.revision("app", DIGEST),
        tree.link("app", "_layers", LAYER_DIGEST),
    ]
    filled = {link: link.read_bytes() for link in links}
    for link in links:
        link.write_bytes(b"")

    def fill(_: float) -> None:
        for link, content in filled.items():
            link.write_bytes(content)

    monkeypatch.setattr("time.sleep", fill)
    words = ("import-distribution", tree.root, "--verify", "--json")
    said = registry_wsgi(*words, data=folder / "data").json()

    assert said["findings"] == []
    assert tags_in(folder / "data", Name("app")) == {"tag": DIGEST}


UNTYPED: dict[str, tuple[dict[str, Any], str]] = {
    "an image": ({"config": descriptor("a/b", CONFIG), "layers": []}, OCI_MANIFEST),
    "an index": ({"manifests": [descriptor(MANIFEST, BODY)]}, OCI_INDEX),
}


@pytest.mark.parametrize(("members", "media_type"), UNTYPED.values(), ids=UNTYPED)
def test_a_manifest_that_does_not_say_what_it_is(
    tree: Tree, folder: Path, members: dict[str, Any], media_type: str
) -> None:
    """A manifest without mediaType is taken for the OCI one that docker distribution serves it as."""
    put(tree, encode({"schemaVersion": 2, **members}))
    registry_wsgi("import-distribution", tree.root, "--verify", data=folder / "data")
    with opened(folder / "data") as here:
        found = here.storage.index.manifests.find(Name("app"), Tag("new"))

    assert found is not None
    assert found.media_type == media_type


def test_findings_are_for_people_too(tree: Tree, folder: Path) -> None:
    """Without --json each finding is a line, and the last line says whether all of it is here."""
    tree.link("app", "_layers", LAYER_DIGEST).write_bytes(b"")
    tree.current("app", "tag").write_bytes(b"")
    words = ("import-distribution", tree.root, "--verify")
    ended = registry_wsgi(*words, data=folder / "data", expect=1)
    lines = ended.out.splitlines()

    assert f"PROBLEM: app:tag: zero-byte link: its link names no digest; it was {DIGEST} last" in (
        lines
    )
    assert any(line.startswith("note: repositories/app/_layers/sha256/") for line in lines)
    assert lines[-1] == "1 things there are not here"


# --- Compared -------------------------------------------------------------------------------------


def spoil_blob(data: Path) -> None:
    """Change a blob's bytes here."""
    path = data / "blobs" / "sha256" / LAYER_DIGEST[7:9] / LAYER_DIGEST[7:]
    path.unlink()
    path.write_bytes(b"A LAYER")


def move_tag(data: Path) -> None:
    """Put the tag on something else here."""
    with opened(data) as here:
        here.push(Name("app"), b"{}")
        here.put(Name("app"), Tag("tag"), encode(image(b"{}")))


DIFFERENCES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a blob has other bytes": (spoil_blob, {f"app@{LAYER_DIGEST}"}),
    "a tag points elsewhere": (move_tag, {"app:tag"}),
}


@pytest.mark.parametrize(("change", "where"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_is_found(
    tree: Tree, folder: Path, change: Callable[[Path], None], where: set[str]
) -> None:
    """What is not the same here any more makes the comparison's status 1, and is named."""
    data = folder / "data"
    registry_wsgi("import-distribution", tree.root, data=data)
    change(data)
    words = ("import-distribution", tree.root, "--verify", "--json")
    said = registry_wsgi(*words, data=data, expect=1).json()

    assert {one["where"] for one in said["findings"]} == where


def test_what_is_missing_is_found_by_comparing_alone(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that takes nothing is seen through: each tag, manifest and blob is told."""
    monkeypatch.setattr(AdoptionService, "run", lambda _: iter(()))
    words = ("import-distribution", tree.root, "--verify", "--json")
    said = registry_wsgi(*words, data=folder / "data", expect=1).json()

    assert {one["where"] for one in said["findings"]} >= {
        "app:tag",
        f"app@{DIGEST}",
        f"app@{LAYER_DIGEST}",
    }
    assert said["lost"] == 2 * 4
