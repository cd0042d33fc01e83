"""What the kernel says of connections: how it keeps them from congestion, sock_diag(7)."""

import socket
import struct
from pathlib import Path

SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
NETLINK_SOCK_DIAG = 4
INET_DIAG_CONG = 4
ANY_STATE = 0xFFFFFFFF
NO_COOKIE = b"\xff" * 8
HEAD = struct.Struct("=IHHII")
MESSAGE_LENGTH = 72

SYSTEM = Path("/proc/sys/net/ipv4")


def default_congestion_control() -> str:
    """What the system gives to new connections."""
    return (SYSTEM / "tcp_congestion_control").read_text().strip()


def congestion_controls() -> list[str]:
    """What any process may choose."""
    return (SYSTEM / "tcp_allowed_congestion_control").read_text().split()


def congestion_control(near: tuple[str, int], far: tuple[str, int]) -> str:
    """That of the connection whose one end, ``near``, is another process's of this machine."""
    addresses = b"".join(socket.inet_aton(host).ljust(16, b"\0") for host, _ in (near, far))
    wanted = struct.pack(
        "=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 1 << INET_DIAG_CONG - 1, ANY_STATE
    )
    wanted += struct.pack("!HH", near[1], far[1]) + addresses + struct.pack("=I", 0) + NO_COOKIE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        length = HEAD.size + len(wanted)
        netlink.send(HEAD.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + wanted)
        answer = netlink.recv(8192)
    assert HEAD.unpack_from(answer)[1] == SOCK_DIAG_BY_FAMILY, "the kernel knows of none"
    at = HEAD.size + MESSAGE_LENGTH
    while at < len(answer):
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == INET_DIAG_CONG:
            return answer[at + 4 : at + size].rstrip(b"\0").decode("ascii")
        at += (size + 3) & ~3
    raise AssertionError("the kernel did not say")
