"""Ports and sockets: claimed, in use, left by the dead."""

from __future__ import annotations

import errno
import socket

import pytest

from serving.server import ports


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_is_closed_until_its_owner_listens_and_then_taken(host):
    with ports.bind(host, 0) as listener:
        address = listener.getsockname()[:2]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        listener.listen()
        socket.create_connection(address, timeout=5).close()
        with pytest.raises(OSError, match="in use") as error:
            ports.bind(host, address[1])
        assert error.value.errno == errno.EADDRINUSE


def test_a_free_port_can_be_bound():
    with ports.bind("127.0.0.1", ports.free_port()) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_socket_of_a_dead_server_goes(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    ports.clear_unix_socket(str(path))
    assert not path.exists()
    ports.clear_unix_socket(str(path))  # nor is there anything to go


def test_a_socket_that_somebody_listens_on_stays(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(path))
        owner.listen()
        with pytest.raises(OSError, match="in use") as error:
            ports.clear_unix_socket(str(path))
    assert error.value.errno == errno.EADDRINUSE
    assert path.is_socket()


def test_another_kind_of_file_stays(tmp_path):
    path = tmp_path / "socket"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        ports.clear_unix_socket(str(path))
    assert path.read_text() == "mine"


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ports.clear_unix_socket(str(tmp_path / "nowhere" / "socket"))
