"""TCP ports: claim one without listening yet, find a free one."""

from __future__ import annotations

import socket


def bind(host: str, port: int) -> socket.socket:
    """Binds a TCP socket without listening yet, so that the port is ours while the model loads.

    Raises:
        OSError: the port can't be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def free_port() -> int:
    """A port that is free on loopback now, for servers that know no port 0."""
    with bind("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port
