"""TCP ports and UNIX sockets: claim one without listening yet, find a free one."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat


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


def clear_unix_socket(path: str) -> None:
    """Makes sure that a UNIX socket can be bound; removes one that a dead server has left.

    Raises:
        OSError: EADDRINUSE, somebody listens there; EEXIST, it is another kind of file; or it can't be bound.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except FileNotFoundError:
            pass
        else:
            raise OSError(errno.EADDRINUSE, "in use")
        probe.bind(path)  # says what is wrong with the folder or the path's length
    os.unlink(path)


def free_port() -> int:
    """A port that is free on loopback now, for servers that know no port 0."""
    with bind("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port
