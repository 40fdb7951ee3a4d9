"""Where promotion works: which folder, which servers, and how what goes wrong there ends a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import InputError, LockedError
from pipeline.cli.command import CommandError
from pipeline.cli.options import AuditOptions, ConfigSource
from pipeline.cli.place import PlaceOptions, VersionsOptions, find_place, promoter_of, reported
from pipeline.local.place import Place
from serving.promotion import PromotionFailed, PromotionLocked, WrongPromotion, files
from serving.server.ports import free_port
from tests.serving.fake_replica import FakeReplica, publish


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """Finds the place that options and a config with these settings of `serving` name."""

    def find(options: VersionsOptions, **serving: Any) -> Place:
        file = tmp_path / "shop.yaml"
        settings = {"base_path": str(tmp_path / "models"), **serving}
        file.write_text(
            yaml.safe_dump({"name": "shop", "data": {"interactions": {"path": "a.csv"}}, "serving": settings})
        )
        return find_place(ConfigSource(file), options)

    return find


def test_a_server_at_any_free_port_must_be_named_where_servers_are_asked(place: Any) -> None:
    with pytest.raises(InputError, match=r"^serving\.port is 0.*: name the servers by serving\.replicas or --target$"):
        place(PlaceOptions(), port=0)
    assert place(PlaceOptions(targets=["a:1"]), port=0).targets == ("a:1",)
    assert place(PlaceOptions(), port=0, replicas=["b"]).targets == ("b:8500",)


def test_what_asks_no_server_needs_none_at_a_known_port(place: Any, tmp_path: Path) -> None:
    found = place(VersionsOptions(), port=0)
    assert found.targets == ()
    assert (found.base_path, found.name, found.versions) == (tmp_path / "models", "shop", tmp_path / "models" / "shop")
    # A killed promotion is put right by them too, so those that are known count.
    assert place(VersionsOptions(), port=7).targets == ("127.0.0.1:7",)
    assert place(VersionsOptions(), port=0, replicas=["b:1"]).targets == ("b:1",)


def test_a_server_that_listens_at_an_address_of_ipv6_is_asked_there(place: Any) -> None:
    assert place(PlaceOptions(), host="::1").targets == ("[::1]:8500",)
    assert place(PlaceOptions(), host="2001:db8::7", port=1).targets == ("[2001:db8::7]:1",)


@pytest.mark.parametrize(
    ("targets", "serving", "message"),
    [
        (["a:1", "b", "a:1"], {}, r"^a replica is named twice: a:1, b:8500, a:1$"),
        ([], {"replicas": ["b", "b:8500"]}, r"^a replica is named twice: b:8500, b:8500$"),
        (["a:0"], {}, r"^target 'a:0': write it as host:port"),
        ([], {"replicas": ["http://a"]}, r"^target 'http://a': write it as host:port"),
        (["a:1"], {"tls": {"key": "k.pem"}}, r"^tls: certificate and key go together"),
    ],
)
def test_servers_that_are_named_wrongly(place: Any, targets: list[str], serving: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        place(PlaceOptions(targets=targets), **serving)


def test_options_count_more_than_the_config(place: Any, tmp_path: Path) -> None:
    options = PlaceOptions(tmp_path / "elsewhere", ["a"])
    found = place(options, replicas=["b", "c"], default_k=3, tls={"ca": "ca.pem"})
    assert (found.versions, found.targets, found.default_k) == (tmp_path / "elsewhere" / "shop", ("a:8500",), 3)
    assert found.tls is not None
    assert found.tls.ca == "ca.pem"


def test_with_offline_no_server_may_run(place: Any, tmp_path: Path) -> None:
    publish(tmp_path / "models", "shop", 1)
    nobody = f"127.0.0.1:{free_port()}"
    config = files.parse_config(files.render(None, "shop", str(tmp_path / "models" / "shop"), {}, None))
    with FakeReplica(config) as replica:
        found = place(PlaceOptions(targets=[replica.target, nobody]))
        assert found.states() == {replica.target: {1: "AVAILABLE"}, nobody: None}
        with pytest.raises(InputError, match=rf"^a model server runs at {replica.target}: leave out --offline, or"):
            promoter_of(found, AuditOptions(), offline=True)
    promoter_of(place(PlaceOptions(targets=[nobody])), AuditOptions(), offline=True).promote(1, "stable")
    assert files.aspired(files.read_config(tmp_path / "models"), "shop").labels == {"stable": 1}


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (PromotionLocked("text"), LockedError),
        (WrongPromotion("text"), InputError),
        (PromotionFailed("text"), CommandError),
        (KeyError("text"), KeyError),
    ],
)
def test_errors_of_promotion_are_those_of_commands(error: Exception, ends: type[Exception]) -> None:
    with pytest.raises(ends, match="text") as caught, reported():
        raise error
    assert type(caught.value) is ends
