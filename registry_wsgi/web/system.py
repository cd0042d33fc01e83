"""Answers about the registry itself."""

from registry_wsgi.errors import ROUTE_UNKNOWN, UNAVAILABLE, RegistryError, StorageFault
from registry_wsgi.web.context import Context
from registry_wsgi.web.peers import FORWARDED_FOR, is_loopback, without_port
from registry_wsgi.web.request import Request
from registry_wsgi.web.responses import JSON_TYPE, Response, json_answer


def base(context: Context, request: Request) -> Response:  # noqa: ARG001 - every handler's form
    """``/v2/``: this is a registry."""
    # > If the response is `200 OK`, then the registry implements this specification.
    return Response(200, [("Content-Type", JSON_TYPE)], b"{}")


def healthz(context: Context, request: Request) -> Response:  # noqa: ARG001 - as above
    """The process is up."""
    return json_answer(200, {"status": "ok"})


def readyz(context: Context, request: Request) -> Response:  # noqa: ARG001 - as above
    """The index can be read and data written; raises RegistryError (503) otherwise."""
    try:
        context.health.check()
    except StorageFault as fault:
        raise RegistryError(UNAVAILABLE, fault.reason) from fault
    return json_answer(200, {"status": "ready"})


def metrics(context: Context, request: Request) -> Response:
    """Prometheus text, for loopback and the peers that are set; raises RegistryError (404).

    Behind proxies every address that they forward counts, so that not everybody may look.
    """
    environ = request.environ
    peer = environ.get("REMOTE_ADDR", "")
    # Whoever forwards has to be allowed as well: the header alone is anybody's.
    chain = environ.get(FORWARDED_FOR)
    forwarded = [without_port(entry.strip()) for entry in chain.split(",")] if chain else []
    allowed = all(
        is_loopback(address) or context.metrics_peers.trusts({"REMOTE_ADDR": address})
        for address in (peer, *forwarded)
    )
    if context.metrics is None or not allowed:
        raise RegistryError(ROUTE_UNKNOWN, "/metrics")
    kind, text = context.metrics()
    return Response(200, [("Content-Type", kind)], text)
