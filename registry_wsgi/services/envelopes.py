"""Events as webhooks carry them: docker distribution's envelope, or CloudEvents."""

import hashlib
from collections.abc import Callable
from typing import Final

from registry_wsgi.storage.inspecting import Event
from registry_wsgi.storage.outbox import Numbered

Envelope = tuple[str, dict[str, object]]
"""A media type, and the document that is sent as it."""

DISTRIBUTION_TYPE: Final = "application/vnd.docker.distribution.events.v2+json"
CLOUDEVENTS_TYPE: Final = "application/cloudevents+json; charset=utf-8"
BLOB_TYPE: Final = "application/octet-stream"
"""The media type of an event that is of a blob."""

_ACTIONS: Final = {"push": "push", "move": "push", "delete": "delete", "pull": "pull"}
"""Distribution knows no moves: to it each is the push of a tag."""


def event_id(numbered: Numbered, service: str) -> str:
    """The same for every attempt to deliver the event, so that receivers can tell a repetition."""
    text = f"{service}/{numbered.number}/{numbered.event.at}".encode()
    raw = hashlib.sha256(text).hexdigest()
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:32]}"


def distribution(numbered: Numbered, service: str, base: str) -> Envelope:
    """One event in the envelope of distribution's notifications.

    Its documentation: "Notifications", https://distribution.github.io/distribution.
    """
    event = numbered.event
    digest = event.digest or event.previous
    kind = "blobs" if event.media_type == BLOB_TYPE else "manifests"
    target: dict[str, object] = {
        "mediaType": event.media_type,
        "size": event.size,
        "length": event.size,
        "digest": digest,
        "repository": event.repository,
        "url": f"{base}/v2/{event.repository}/{kind}/{digest}",
    }
    if event.tag is not None:
        target["tag"] = event.tag
    document: dict[str, object] = {
        "id": event_id(numbered, service),
        "timestamp": event.at,
        "action": _ACTIONS[event.action],
        "target": target,
        "request": {"id": event.request_id, "addr": event.address},
        "actor": {"name": event.actor},
        "source": {"addr": service},
    }
    return DISTRIBUTION_TYPE, {"events": [document]}


def cloudevents(numbered: Numbered, service: str, base: str) -> Envelope:
    """One event by the CloudEvents 1.0 specification, structured mode."""
    event = numbered.event
    subject = f"{event.repository}:{event.tag}" if event.tag else event.repository
    document: dict[str, object] = {
        "specversion": "1.0",
        "id": event_id(numbered, service),
        "source": base or f"/{service}",
        "type": f"registry.{event.action}",
        "subject": subject,
        "time": event.at,
        "datacontenttype": "application/json",
        "data": _data(event),
    }
    return CLOUDEVENTS_TYPE, document


def _data(event: Event) -> dict[str, object]:
    return {
        "repository": event.repository,
        "tag": event.tag,
        "digest": event.digest,
        "previous": event.previous,
        "mediaType": event.media_type,
        "size": event.size,
        "actor": event.actor,
        "address": event.address,
        "requestId": event.request_id,
    }


FORMATS: Final[dict[str, Callable[[Numbered, str, str], Envelope]]] = {
    "distribution": distribution,
    "cloudevents": cloudevents,
}
