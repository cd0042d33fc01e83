"""Whether a registry that asks nobody to sign in would be open to a whole network."""

import ipaddress

from registry_wsgi.config import Config, ConfigError


def refuse_open_network(config: Config) -> None:
    """Raise ConfigError when everybody on the network could do everything."""
    host, _, _ = config.server.bind.rpartition(":")
    local = config.server.bind.startswith("unix:") or is_loopback(host.strip("[]"))
    if not (local or config.auth.backends or config.auth.open_to_network):
        raise ConfigError(
            f"server.bind = {config.server.bind!r} lets the whole network push and delete: set "
            "auth.backends, or auth.open_to_network = true if that is what you want"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
