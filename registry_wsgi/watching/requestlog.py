"""One line for each request, as text or JSON."""

import json
import re
import time
from collections.abc import Callable
from typing import Final, TextIO

from registry_wsgi.observing import Record

_UNSAFE: Final = {code: f"\\x{code:02x}" for code in (*range(32), 34, 92, 127)}
"""What would let a client write lines or fields of its own."""

_SAFE: Final = re.compile(r"[ !#-\[\]-~]*+")
"""What has nothing of it, as nearly everything."""


def _safe(text: str) -> str:
    return text if _SAFE.fullmatch(text) else text.translate(_UNSAFE)


def as_text(record: Record, at: str) -> str:
    """``time address user "method path" status received sent seconds action repository id agent``.

    An absent field is ``-``.
    """
    method, path = _safe(record.method), _safe(record.path)
    request_id, agent = _safe(record.request_id) or "-", _safe(record.agent) or "-"
    return (
        f'{at} {record.address or "-"} {record.user or "-"} "{method} {path}" '
        f"{record.status} {record.received} {record.sent} {record.seconds:.6f} "
        f'{record.action or "-"} {record.repository or "-"} "{request_id}" "{agent}"\n'
    )


def as_json(record: Record, at: str) -> str:
    """The same as one JSON object."""
    document = {
        "at": at,
        "address": record.address,
        "user": record.user,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "received": record.received,
        "sent": record.sent,
        "seconds": round(record.seconds, 6),
        "action": record.action,
        "repository": record.repository,
        "request_id": record.request_id,
        "agent": record.agent,
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


FORMATS: Final[dict[str, Callable[[Record, str], str]]] = {"text": as_text, "json": as_json}


class RequestLog:
    """Writes to ``stream`` in one piece, so that lines of several processes stay whole."""

    def __init__(self, stream: TextIO, style: str) -> None:
        self._stream = stream
        self._format = FORMATS[style]
        self._second = 0
        self._prefix = ""

    def __call__(self, record: Record) -> None:
        """Write the line of one request."""
        self._stream.write(self._format(record, self._now()))
        self._stream.flush()

    def _now(self) -> str:
        """RFC 3339 in UTC, to the millisecond; the second's text is made once a second."""
        moment = time.time()
        second = int(moment)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._prefix}.{int((moment - second) * 1000):03d}Z"
