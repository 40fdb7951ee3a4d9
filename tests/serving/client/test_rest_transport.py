"""The REST transport: names and their addresses, connections, what answers that is no model server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from serving.client import DeadlineExceeded, RecommenderClient, ServerUnavailable, rest_transport
from serving.server.ports import free_port
from tests.serving.misbehaving import FakeServer, Wire


def test_all_addresses_of_a_name_are_asked_in_turn(monkeypatch):
    resolve = socket.getaddrinfo
    port = free_port()

    def two(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "replicas.test":
            return resolve(host, *arguments, **options)
        return [*resolve("127.0.0.1", *arguments, **options), *resolve("127.0.0.2", *arguments, **options)]

    monkeypatch.setattr("socket.getaddrinfo", two)
    with (
        FakeServer("rest", port=port) as first,
        FakeServer("rest", port=port, host="127.0.0.2") as second,
        RecommenderClient(f"replicas.test:{port}", model="m", transport="rest", retry=None) as client,
    ):
        for _ in range(6):
            client.recommend("ann")
        assert (len(first.seen), len(second.seen)) == (3, 3)
    with FakeServer("rest", port=port, host="127.0.0.2") as second:
        with RecommenderClient(f"replicas.test:{port}", model="m", transport="rest", retry=None) as client:
            for _ in range(4):
                client.recommend("ann")
        assert len(second.seen) == 4


def test_an_address_of_ipv6(monkeypatch):
    monkeypatch.setattr("http.server.ThreadingHTTPServer.address_family", socket.AF_INET6)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(FakeServer("rest", host="::1"))
        except OSError:
            pytest.skip("this machine has no IPv6")
        target = f"[::1]:{server.port}"
        with RecommenderClient(target, model="m", transport="rest", retry=None) as client:
            assert client.recommend("ann").item_ids == ["1", "2", "3"]
        assert server.seen[0].headers["host"] == target


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_name_that_does_not_resolve_in_time(monkeypatch):
    given_up = threading.Event()
    before = set(threading.enumerate())

    def resolve(*_: Any, **__: Any) -> Any:
        assert given_up.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "too late")

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    client = RecommenderClient("slow.test:1", model="m", transport="rest", timeout=0.2)
    with client, pytest.raises(DeadlineExceeded):
        client.recommend("ann")
    given_up.set()
    # The client was closed before the answer came, which must not harm its thread.
    for thread in set(threading.enumerate()) - before:
        thread.join(10)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "label too long"),
        (ValueError("embedded null character"), "embedded null character"),
        (None, "'NoneType' object is not iterable"),
    ],
)
def test_a_name_that_does_not_resolve(monkeypatch, outcome, told):
    def resolve(*_: Any, **__: Any) -> Any:
        if outcome is not None:
            raise outcome

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    client = RecommenderClient("no.test:1", model="m", transport="rest", retry=None)
    with client, pytest.raises(ServerUnavailable, match=f"the host's name can't be resolved: {told}"):
        client.recommend("ann")


@pytest.mark.slow
@pytest.mark.smoke
def test_calls_to_a_name_that_does_not_resolve_share_one_thread(monkeypatch):
    go = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        go.wait(30)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    before = threading.active_count()
    with RecommenderClient("nowhere:1", model="m", transport="rest", timeout=0.05, retry=None) as client:
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                client.recommend("ann")
        assert threading.active_count() <= before + 1
        go.set()


@pytest.mark.slow
@pytest.mark.smoke
def test_a_port_that_speaks_no_tls_is_told_before_the_time_is_up(monkeypatch):
    monkeypatch.setattr(rest_transport, "_HANDSHAKE_SECONDS", 0.3)
    with FakeServer("rest") as server, Wire(server.target, "hang") as wire:
        started = time.monotonic()
        client = RecommenderClient(f"https://{wire.target}", model="m", transport="rest", retry=None)
        with client, pytest.raises(ServerUnavailable, match=r"says nothing to TLS within 0\.3 s: is it http://"):
            client.recommend("ann")
        assert time.monotonic() - started < 5
