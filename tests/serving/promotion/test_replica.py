"""`dns:///name:port` stands for all replicas of a headless Service."""

from __future__ import annotations

import socket

import pytest

from serving.promotion import WrongPromotion, every_replica


def _answers(*addresses: str) -> list[tuple]:
    """What getaddrinfo returns for a name with these addresses."""
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
    return [(family, socket.SOCK_STREAM, 6, "", (address, 8500)) for family, address in zip(families, addresses)]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["10.0.0.7", "10.0.0.3", "10.0.0.7"], ("a:1", "10.0.0.3:8500", "10.0.0.7:8500")),
        (["fd00::2"], ("a:1", "[fd00::2]:8500")),
        (["10.0.0.3", "fd00::3"], ("a:1", "10.0.0.3:8500")),  # a replica with two
    ],
)
def test_a_name_is_all_its_addresses(monkeypatch, addresses, expected):
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, type: _answers(*addresses))
    assert every_replica(["a:1", "dns:///recommender-grpc:8500"]) == expected


def test_other_targets_are_not_looked_up():
    assert every_replica(["nosuch.invalid:8500", "localhost"]) == ("nosuch.invalid:8500", "localhost")


def test_a_name_without_an_address_is_told():
    with pytest.raises(WrongPromotion, match=r"dns:///nosuch\.invalid:8500: the name has no address"):
        every_replica(["dns:///nosuch.invalid:8500"])
