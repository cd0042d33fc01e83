"""A server on a unix socket, as behind a proxy on the same machine."""

from support.server import RunningServer
from support.wire import Wire, request


class OnUnixSocket(RunningServer):
    """A server that listens on a unix socket beside its data."""

    @property
    def host(self) -> str:
        """The path of the socket."""
        return str(self.data.with_name("socket"))

    def command(self) -> list[str]:
        """The command line."""
        return [f"unix:{word}" if word == self.host else word for word in super().command()]

    def _answers(self) -> bool:
        try:
            with Wire(self.host) as wire:
                return wire.exchange(request("GET", self.READY)).status == 200
        except OSError:
            return False
