"""The request log: one line an answer, whole, and without anything secret."""

import io
import json
import re

import pytest
from support.pushes import open_upload, push_image
from support.server import RunningServer, ServerFactory

from registry_wsgi.observing import Record, nobody, together
from registry_wsgi.watching.requestlog import RequestLog, as_json, as_text

AT = "2026-01-31T12:00:00.123Z"
RECORD = Record(
    method="PUT",
    path="/v2/team/app/manifests/1",
    route="/v2/<name:name>/manifests/<reference>",
    action="push",
    repository="team/app",
    status=201,
    sent=0,
    received=529,
    seconds=0.00214,
    user="alice",
    address="192.0.2.7",
    agent="docker/27",
    request_id="",
)


def test_a_line_of_text_has_every_field_in_its_place() -> None:
    """The text form is the one that docs/watching.md shows."""
    line = (
        f'{AT} 192.0.2.7 alice "PUT /v2/team/app/manifests/1" 201 529 0 0.002140 '
        'push team/app "-" "docker/27"\n'
    )

    assert as_text(RECORD, AT) == line


def test_a_line_of_json_has_every_field_by_name() -> None:
    """The JSON form names the fields, and leaves out the route."""
    document = json.loads(as_json(RECORD, AT))

    assert document["at"] == AT
    assert document["received"] == 529
    assert document["user"] == "alice"


@pytest.mark.parametrize(
    "hostile",
    ["a\nb", 'a" 200 "', "a\\", "a\x1b[31m"],
    ids=["line", "quote", "backslash", "escape"],
)
def test_a_client_cannot_write_lines_or_fields_of_its_own(hostile: str) -> None:
    """What a client chooses stands between quotes, and ends neither them nor the line."""
    record = Record("GET", hostile, "", "", "", 404, 0, 0, 0.0, "", "", hostile, hostile)
    line = as_text(record, AT)

    assert line.count("\n") == 1
    assert len(re.findall(r'(?<!\\)"', line)) == 6
    assert "\x1b" not in line


def test_a_log_writes_a_line_for_each_record() -> None:
    """Two records are two lines, each with a time of its own in UTC."""
    stream = io.StringIO()
    log = RequestLog(stream, "text")
    log(RECORD)
    log(RECORD)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line) for line in lines)


def test_observers_are_told_together() -> None:
    """Several observers all hear of a record; none at all is nobody."""
    heard: list[Record] = []
    together([heard.append, heard.append])(RECORD)

    assert heard == [RECORD, RECORD]
    assert together([]) is nobody


def test_a_server_logs_what_was_done_and_nothing_secret(fresh_registry: ServerFactory) -> None:
    """A push leaves its lines, with the bytes of both ways; a signed state is in none of them."""
    server = fresh_registry(settings='[log]\nformat = "json"\n')
    pushed = push_image(server.http, "team/app", "1", content=b"x" * 10_000)
    state = open_upload(server.http, "team/app").partition("_state=")[2]
    server.http.get(f"/v2/team/app/manifests/{pushed.digest}", X_Request_Id="call-17")
    server.http.get("/v2/team/app/tags/list", expect=200, Authorization="Basic c2VjcmV0")

    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    by_path = {(line["method"], line["path"].rpartition("/")[2]): line for line in lines}
    assert by_path["GET", pushed.digest]["sent"] == len(pushed.body)
    assert by_path["GET", pushed.digest]["request_id"] == "call-17"
    assert by_path["PUT", "1"]["received"] == len(pushed.body)
    assert by_path["PUT", "1"]["action"] == "push"
    assert any(line["received"] == 10_000 for line in lines)
    assert state not in server.log
    assert "c2VjcmV0" not in server.log


def test_a_blob_is_logged_when_its_last_byte_is_sent(registry: RunningServer) -> None:
    """The line of a blob has its length, although the kernel sent it."""
    content = b"layer" * 50_000
    push_image(registry.http, "watch/blob", "1", content=content)
    digest = registry.http.get("/v2/watch/blob/manifests/1").json()["layers"][0]["digest"]
    registry.http.get(f"/v2/watch/blob/blobs/{digest}")

    assert re.search(rf'"GET /v2/watch/blob/blobs/{digest}" 200 0 {len(content)} ', registry.log)


def test_the_log_can_be_turned_off(fresh_registry: ServerFactory) -> None:
    """Without the request log a server writes no line for a request."""
    server = fresh_registry(settings="[log]\nrequests = false\n")
    server.http.get("/v2/")

    assert '"GET /v2/"' not in server.log
