"""The push that this project was founded on, exchange by exchange: ``tests/wire/docker-push.json``.

Twelve exchanges of Docker 19.03.12 with a v2 registry. The blobs it pushed are not known, so
others are pushed in their place, and what follows from content is compared after substitution:
digests, lengths, offsets. New on every run are the dates, the sessions' ids and their ``_state``.
"""

import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from itsdangerous import URLSafeSerializer
from support.images import noise, sha256
from support.server import RunningServer
from support.wire import Reply, Wire, chunked

RECORDING = Path(__file__).resolve().parents[1] / "wire" / "docker-push.json"
EXCHANGES: list[dict[str, Any]] = json.loads(RECORDING.read_bytes())
LAYER = "sha256:8a29a15cefaeccf6545f7ecf11298f9672d2f0cdaf9e357a95133ac3ad3e1f07"
LAYER_SIZE = 73228446
CONFIG = "sha256:470671670cac686c7cf0081e0b37da2e9f4f768ddc5f6a26102ccd1c6954c1ee"
CONFIG_SIZE = 2797
MANIFEST = "sha256:9e0c275e0bcb495773b10a18e499985d782810e47b4fce076422acb4bc3da3dd"
CHUNK = 32 << 10

# The recording proxy closed each connection; keeping it is right here, and Date is the moment.
NOT_COMPARED = {"connection", "date"}


def manifest_of(config: str, config_size: int, layer: str, layer_size: int) -> bytes:
    """The manifest of an image with one layer, byte for byte as Docker 19.03 writes it."""
    docker = "application/vnd.docker"
    document = {
        "schemaVersion": 2,
        "mediaType": f"{docker}.distribution.manifest.v2+json",
        "config": {
            "mediaType": f"{docker}.container.image.v1+json",
            "size": config_size,
            "digest": config,
        },
        "layers": [
            {
                "mediaType": f"{docker}.image.rootfs.diff.tar.gzip",
                "size": layer_size,
                "digest": layer,
            }
        ],
    }
    return json.dumps(document, indent=3).encode()


class Replay:
    """Sends the recorded requests, on one connection, with content of its own.

    ``known`` has, for each recorded text that cannot come again, what stands for it now.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        layer, config = noise(300_001, "layer"), noise(CONFIG_SIZE, "config")
        self.content = {LAYER: layer, CONFIG: config}
        self.manifest = manifest_of(sha256(config), len(config), sha256(layer), len(layer))
        self.known = {
            LAYER: sha256(layer),
            CONFIG: sha256(config),
            MANIFEST: sha256(self.manifest),
            str(LAYER_SIZE): str(len(layer)),
            f"0-{LAYER_SIZE - 1}": f"0-{len(layer) - 1}",
        }

    def now(self, recorded: str) -> str:
        """The recorded text, as it has to be in this run."""
        for old, new in self.known.items():
            recorded = recorded.replace(old.replace(":", "%3A"), new.replace(":", "%3A"))
            recorded = recorded.replace(old, new)
        return recorded

    def send(self, position: int) -> Reply:
        """Send the recorded request at a position."""
        exchange = EXCHANGES[position]
        headers = {
            name: value for name, value in exchange["request"].items() if name != "connection"
        }
        body = b""
        if exchange["method"] == "PATCH":
            content = self.content[self._pushed_after(position)]
            body = chunked(*(content[at : at + CHUNK] for at in range(0, len(content), CHUNK)))
        elif "/manifests/" in exchange["target"]:
            body = self.manifest
            headers["content-length"] = str(len(body))
        lines = [f"{exchange['method']} {self.now(exchange['target'])} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        reply = self.wire.send(head + body).reply(exchange["method"])
        assert reply is not None, "the connection was not kept"
        self._learn(exchange["response"], reply)
        return reply

    @staticmethod
    def _pushed_after(position: int) -> str:
        """The recorded digest that the PUT after a PATCH names."""
        target: str = EXCHANGES[position + 1]["target"]
        return parse_qs(urlsplit(target).query)["digest"][0]

    def _learn(self, recorded: dict[str, str], reply: Reply) -> None:
        """Take over the id and the state of a session."""
        if "docker-upload-uuid" in recorded:
            self.known[recorded["docker-upload-uuid"]] = reply.value("Docker-Upload-UUID")
            _, _, old = recorded["location"].partition("_state=")
            _, _, new = reply.value("Location").partition("_state=")
            self.known[old] = new


@pytest.fixture(scope="module")
def replies(registry: RunningServer) -> Iterator[list[tuple[Reply, dict[str, str]]]]:
    """Each response with the headers that it has to have, substituted."""
    with Wire(registry.host) as wire:
        replay = Replay(wire)
        pairs = []
        for position, exchange in enumerate(EXCHANGES):
            reply = replay.send(position)
            recorded = exchange["response"].items()
            wanted = {name: replay.now(value) for name, value in recorded}
            pairs.append((reply, wanted))
        yield pairs


each = pytest.mark.parametrize(
    "position",
    range(len(EXCHANGES)),
    ids=[
        f"{position + 1}-{exchange['method']}-{exchange['target'].split('?')[0].split('/')[-2]}"
        for position, exchange in enumerate(EXCHANGES)
    ],
)


def test_the_recording_has_twelve_exchanges() -> None:
    """All of the recording is replayed."""
    assert len(EXCHANGES) == 12


def test_a_manifest_made_here_is_what_docker_pushed() -> None:
    """With the recorded digests and sizes, the manifest made here is the recorded one."""
    manifest = manifest_of(CONFIG, CONFIG_SIZE, LAYER, LAYER_SIZE)

    assert len(manifest) == int(EXCHANGES[11]["request"]["content-length"])
    assert sha256(manifest) == MANIFEST


@each
def test_the_status_is_as_recorded(
    replies: list[tuple[Reply, dict[str, str]]], position: int
) -> None:
    """Each request gets the status that it got in the recording."""
    assert replies[position][0].status == EXCHANGES[position]["status"]


@each
def test_the_set_of_headers_is_as_recorded(
    replies: list[tuple[Reply, dict[str, str]]], position: int
) -> None:
    """No header is missing, none is there twice and none is new, such as ``Server``."""
    reply, wanted = replies[position]

    assert sorted(name.lower() for name, _ in reply.headers) == sorted(wanted)


@each
def test_the_values_are_as_recorded(
    replies: list[tuple[Reply, dict[str, str]]], position: int
) -> None:
    """Each header's value is the recorded one, but for what is new on every run."""
    reply, wanted = replies[position]
    compared = [name for name in wanted if name not in NOT_COMPARED]

    assert {name: reply.value(name) for name in compared} == {n: wanted[n] for n in compared}


@each
def test_the_connection_is_kept(replies: list[tuple[Reply, dict[str, str]]], position: int) -> None:
    """A client that does not ask to close the connection may go on using it."""
    assert replies[position][0].value("Connection") == "keep-alive"


@pytest.mark.parametrize(
    ("position", "offset"), [(2, 0), (3, 300_001), (7, 0), (8, CONFIG_SIZE)], ids=str
)
def test_the_state_is_the_recorded_object_signed(
    replies: list[tuple[Reply, dict[str, str]]], position: int, offset: int
) -> None:
    """``_state`` holds the session's name, id, offset and start, as the recorded one does."""
    reply, _ = replies[position]
    (signed,) = parse_qs(urlsplit(reply.value("Location")).query)["_state"]
    _, state = URLSafeSerializer("any").loads_unsafe(signed)

    assert set(state) == {"Name", "UUID", "Offset", "StartedAt"}
    assert state["Name"] == "shinhwagk/test"
    assert state["UUID"] == reply.value("Docker-Upload-UUID")
    assert state["Offset"] == offset
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", state["StartedAt"])
    assert dt.datetime.fromisoformat(state["StartedAt"]).tzinfo is dt.UTC


def test_a_session_id_is_a_random_uuid(replies: list[tuple[Reply, dict[str, str]]]) -> None:
    """The two sessions of a push have ids of their own, which nobody can guess."""
    found = {replies[position][0].value("Docker-Upload-UUID") for position in (2, 7)}

    assert len(found) == 2
    assert {uuid.UUID(text).version for text in found} == {4}


@pytest.mark.parametrize("position", [1, 6])
def test_the_error_of_a_missing_blob_is_as_recorded(
    registry: RunningServer, repository: str, position: int
) -> None:
    """A GET has the body whose length and type the recorded HEAD of a missing blob told."""
    digest = EXCHANGES[position]["target"].rpartition("/")[2]
    answer = registry.http.get(f"/v2/{repository}/blobs/{digest}", 404)
    error = {"code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest}

    assert answer.body == json.dumps({"errors": [error]}, separators=(",", ":")).encode() + b"\n"
    assert len(answer.body) == int(EXCHANGES[position]["response"]["content-length"])


def test_the_pushed_image_can_be_pulled(
    registry: RunningServer, replies: list[tuple[Reply, dict[str, str]]]
) -> None:
    """After the replay the tag and both blobs are there, byte for byte."""
    path = "/v2/shinhwagk/test"
    manifest = registry.http.get(f"{path}/manifests/latest")
    found = json.loads(manifest.body)
    parts = [found["config"], *found["layers"]]

    assert manifest["Docker-Content-Digest"] == replies[11][0].value("Docker-Content-Digest")
    assert [sha256(registry.http.get(f"{path}/blobs/{part['digest']}").body) for part in parts] == [
        part["digest"] for part in parts
    ]
