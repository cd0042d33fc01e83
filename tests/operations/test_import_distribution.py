"""``import-distribution``: moving in from a docker distribution that real clients pushed to."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.commands import registry_wsgi
from support.foreign import OldRegistry, old_registry, standing
from support.images import make_image, noise, sha256, tar_of, write_layout
from support.opened import opened
from support.programs import Tool
from support.pushes import image, push_manifest, sha512
from support.server import RunningServer, throwaway_directory
from support.transfers import assert_sound, tags_in

from registry_wsgi.names import Name

INSECURE = ("--src-tls-verify=false", "--dest-tls-verify=false")
PUSHES = 30
VERSIONS = ("v2", "v3")
ARCHITECTURES = [make_image("moving", architecture=arch) for arch in ("amd64", "arm64")]
LONG = b"a layer that is known by its sha512"


def fill(old: OldRegistry, docker: Tool, skopeo: Tool, folder: Path) -> None:
    """Push with a Docker daemon and with skopeo, move tags, mount, delete, and use sha512."""
    for number in range(3):
        layer = folder / f"{number}.tar"
        layer.write_bytes(tar_of({"data": noise(100_000, f"layer {number}")}))
        docker("import", layer, f"{old.host}/team/app:v{number}")
        docker("push", "--quiet", f"{old.host}/team/app:v{number}")
        docker("tag", f"{old.host}/team/app:v{number}", f"{old.host}/team/app:latest")
        docker("push", "--quiet", f"{old.host}/team/app:latest")
    layout = write_layout(folder / "layout", {"two": ARCHITECTURES})
    source = f"docker://{old.host}/team/app:latest"
    skopeo("copy", "--all", *INSECURE, f"oci:{layout}:two", f"docker://{old.host}/multi:two")
    skopeo("copy", *INSECURE, source, f"docker://{old.host}/deep/er/copy:latest")
    subject = old.push_image("signed", "subject", content=b"subject")
    old.push_image("signed", content=b"signature", subject=subject.descriptor)
    deleted = old.push_image("signed", "deleted", content=b"deleted")
    old.http.delete(f"/v2/signed/manifests/{deleted.digest}")
    old.push_blob("long", LONG, sha512(LONG))
    old.push_blob("long", b"{}")
    document: dict[str, Any] = image(b"{}", LONG)
    document["layers"][0]["digest"] = sha512(LONG)
    push_manifest(old.http, "long", document, "tag")


@dataclass(frozen=True)
class Move:
    """A registry that moved: the old one, the new one, and what the command said."""

    old: OldRegistry
    new: RunningServer
    said: dict[str, Any]
    before: dict[str, Any]


@pytest.fixture(scope="module", params=VERSIONS)
def move(request: pytest.FixtureRequest, docker: Tool, skopeo: Tool) -> Iterator[Move]:
    """A docker distribution of each version, imported while both registries run."""
    with throwaway_directory() as folder, old_registry(request.param) as old:
        fill(old, docker, skopeo, folder)
        before = standing(old.root)
        with RunningServer(folder / "data") as new:
            words = ("import-distribution", old.root, "--verify", "--json")
            said = registry_wsgi(*words, data=new.data).json()
            yield Move(old, new, said, before)


def everything(old: OldRegistry) -> dict[str, list[str]]:
    """All repositories with their tags, as the old registry lists them."""
    names = old.http.get("/v2/_catalog").json()["repositories"]
    listed = {name: old.http.get(f"/v2/{name}/tags/list").json()["tags"] or [] for name in names}
    return {name: sorted(tags) for name, tags in listed.items()}


# --- Once -----------------------------------------------------------------------------------------


def test_all_of_it_moves(move: Move) -> None:
    """Nothing is lost or broken, and the comparison finds every tag, manifest and blob the same."""
    counts = {key: number for key, number in move.said["counts"].items() if " here" not in key}
    taken = {kind: sum(n for key, n in counts.items() if key.startswith(kind)) for kind in _KINDS}

    assert (move.said["lost"], move.said["findings"]) == (0, [])
    assert move.said["verified"] == {f"{kind} same": number for kind, number in taken.items()}
    assert taken["tags"] == sum(map(len, everything(move.old).values()))
    assert_sound(move.new.data)


_KINDS = ("blobs", "manifests", "tags")


def test_every_tag_and_digest_answers_as_before(move: Move) -> None:
    """Catalog, tags, manifests with their types, and blobs are the same from both registries."""
    listed = everything(move.old)
    old, new = move.old.http, move.new.http
    for name, tags in listed.items():
        assert new.get(f"/v2/{name}/tags/list").json()["tags"] == tags
        links = move.old.tree.top / "repositories" / name
        digests = [_digest(path) for path in links.glob("_manifests/revisions/*/*/link")]
        for reference in tags + digests:
            path = f"/v2/{name}/manifests/{reference}"
            here = new.get(path)
            there = old.get(path, Accept=here["Content-Type"])
            assert (here.body, here["Content-Type"]) == (there.body, there["Content-Type"])
        for digest in map(_digest, links.glob("_layers/*/*/link")):
            path = f"/v2/{name}/blobs/{digest}"
            assert new.get(path).body == old.get(path).body

    assert set(listed) == {"team/app", "multi", "deep/er/copy", "signed", "long"}
    assert new.get("/v2/_catalog").json()["repositories"] == sorted(listed)


def _digest(link: Path) -> str:
    """The digest in a link's path."""
    return f"{link.parent.parent.name}:{link.parent.name}"


def test_clients_pull_what_they_pushed(move: Move, docker: Tool, skopeo: Tool, crane: Tool) -> None:
    """A Docker daemon, skopeo and crane get the same image from the new registry as from the old."""
    tags = ("v0", "v1", "v2", "latest")
    olds, news = ([f"{one.host}/team/app:{tag}" for tag in tags] for one in (move.old, move.new))
    inspect = ("image", "inspect", "--format", "{{.Id}}")
    pushed = docker(*inspect, *olds)
    docker("rmi", "--force", *set(pushed.split()))
    for reference in news:
        docker("pull", "--quiet", reference)
    pulled = docker(*inspect, *news)
    digests = {}
    for host in (move.old.host, move.new.host):
        reference = f"docker://{host}/multi:two"
        with throwaway_directory() as folder:
            skopeo("copy", "--all", *INSECURE, reference, f"oci:{folder}/out:two")
            digests[host] = (folder / "out" / "index.json").read_bytes()

    assert pulled == pushed
    assert [crane("digest", one) for one in news] == [crane("digest", one) for one in olds]
    assert digests[move.new.host] == digests[move.old.host]


def test_referrers_are_listed(move: Move) -> None:
    """What named another manifest as its subject is found by the new registry's referrers."""
    subject = move.new.http.head("/v2/signed/manifests/subject")["Docker-Content-Digest"]
    listed = move.new.http.get(f"/v2/signed/referrers/{subject}").json()["manifests"]

    assert len(listed) == 1


def test_past_digests_of_a_tag_are_kept(move: Move) -> None:
    """Where a tag pointed before can be pulled, and is in the record with its moment there."""
    lines = registry_wsgi(
        "audit", "--repository", "team/app", "--tag", "latest", "--json", data=move.new.data
    ).out.splitlines()
    events = [json.loads(line) for line in lines]
    past = [
        move.new.http.head(f"/v2/team/app/manifests/v{number}")["Docker-Content-Digest"]
        for number in range(3)
    ]

    assert [event["digest"] for event in events] == past
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert {event["user"] for event in events} == {"import-distribution"}


def test_the_old_files_are_left_alone(move: Move) -> None:
    """No byte, mode, owner or time of the old registry's files changes; blobs are links to them."""
    mine = {path.name: path for path in (move.new.data / "blobs").rglob("*") if path.is_file()}
    layer = move.old.tree.data(sha256(LONG))

    assert standing(move.old.root) == move.before
    assert mine[layer.parent.name].samefile(layer)
    assert mine[sha512(LONG)[7:]].samefile(layer)


def test_nobody_is_notified_of_what_happened_elsewhere(move: Move) -> None:
    """What was pushed to the old registry is no news for the receivers of notifications."""
    with opened(move.new.data) as here:
        events = here.storage.index.outbox.events_after(0, 1000, pulls=False)

    assert events == []


def test_a_second_run_finds_everything_here(move: Move) -> None:
    """Run again with nothing new, it takes nothing."""
    said = registry_wsgi("import-distribution", move.old.root, "--json", data=move.new.data).json()

    assert {key.partition(" ")[2] for key in said["counts"]} == {"here"}
    assert said["findings"] == []


# --- Again and again ------------------------------------------------------------------------------


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest) -> Iterator[OldRegistry]:
    """A docker distribution with one image that has two tags."""
    with old_registry(request.param) as running:
        running.push_image("app", "moves", "goes", content=b"first")
        yield running


def import_from(old: OldRegistry, data: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    """Run the command, and what it said."""
    ended = registry_wsgi(
        "import-distribution", old.root, "--json", *words, data=data, expect=expect
    )
    said: dict[str, Any] = ended.json()
    return said


def test_a_later_run_catches_up(old: OldRegistry, folder: Path) -> None:
    """What was pushed or moved since comes too; what was deleted is told, and pruned if asked."""
    import_from(old, folder / "data")
    second = old.push_image("app", "moves", "new", content=b"second")
    shutil.rmtree(old.tree.current("app", "goes").parents[1])
    said = import_from(old, folder / "data", "--verify")
    kept = tags_in(folder / "data", Name("app"))
    import_from(old, folder / "data", "--prune-tags")
    again = import_from(old, folder / "data", "--prune-tags")
    pruned = tags_in(folder / "data", Name("app"))

    assert kept["moves"] == kept["new"] == second.digest
    assert [(one["where"], one["kind"]) for one in said["findings"]] == [
        ("app:goes", "deleted there")
    ]
    assert set(kept) - set(pruned) == {"goes"}
    assert again["findings"] == []


def test_a_tag_that_was_changed_here_is_kept(old: OldRegistry, folder: Path) -> None:
    """A tag that a client moved or deleted here stays as it is, which is told, unless overruled."""
    data = folder / "data"
    import_from(old, data)
    registry_wsgi("delete", "app:goes", data=data)
    said = import_from(old, data, expect=1)
    kept = tags_in(data, Name("app"))
    import_from(old, data, "--overwrite")

    assert [(one["where"], one["kind"]) for one in said["findings"]] == [("app:goes", "kept")]
    assert set(kept) == {"moves"}
    assert set(tags_in(data, Name("app"))) == {"moves", "goes"}


def test_a_tag_of_ones_own_is_not_pruned(old: OldRegistry, folder: Path) -> None:
    """A tag that was never in the old registry stays, whatever is pruned."""
    data = folder / "data"
    import_from(old, data)
    registry_wsgi("export", "app:moves", folder / "layout", data=data)
    registry_wsgi("import", folder / "layout", "app:own", data=data)
    said = import_from(old, data, "--prune-tags")

    assert said["findings"] == []
    assert set(tags_in(data, Name("app"))) == {"moves", "goes", "own"}


def test_pushes_to_the_old_registry_go_on(old: OldRegistry, folder: Path) -> None:
    """Runs beside a client that pushes and moves a tag break nothing; the last one has it all."""
    pushed: list[str] = []

    def push() -> None:
        for number in range(PUSHES):
            image_of = old.push_image(
                "app", f"t{number}", "moves", content=noise(5000, f"{number}")
            )
            pushed.append(image_of.digest)

    pushing = threading.Thread(target=push)
    pushing.start()
    findings = []
    while pushing.is_alive():
        findings += import_from(old, folder / "data")["findings"]
    pushing.join()
    last = import_from(old, folder / "data", "--verify")
    tags = tags_in(folder / "data", Name("app"))

    assert findings == []
    assert last["lost"] == 0
    assert [tags[f"t{number}"] for number in range(PUSHES)] == pushed
    assert_sound(folder / "data")
