"""Where promotion works: which folder, which servers, and how what goes wrong there ends a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import InputError
from pipeline.cli.options import ConfigSource
from pipeline.cli.place import Place, PlaceOptions, VersionsOptions, find_place


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
