"""What `recommender query` asks for, and how it is told what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.cli.asking import _check_context, _Endpoint, _one_line
from pipeline.config import Config
from serving import contract
from tests.serving.fake_replica import publish


def config(base_path: Path) -> Config:
    return Config.model_validate(
        {
            "name": "shop",
            "data": {"interactions": {"path": "log.csv", "features": {"device": {"type": "category"}}}},
            "model": {"query_features": ["device"], "time_features": ["hour"]},
            "serving": {"base_path": base_path},
        }
    )


def endpoint(base_path: Path | None, version: int | None = None) -> _Endpoint:
    known = config(base_path) if base_path else None
    return _Endpoint(["localhost:8500"], "shop", version, None, "grpc", 10, known)


def test_a_feature_that_the_config_lacks_is_refused_with_what_there_is(tmp_path: Path) -> None:
    _check_context({"device": "ios", "timestamp": 7}, endpoint(tmp_path))
    with pytest.raises(InputError, match=r"^--context devise: the model takes no .* \(it takes: device, timestamp\)$"):
        _check_context({"device": "ios", "devise": "ios"}, endpoint(tmp_path))


def test_the_version_on_this_machine_knows_better_than_the_config(tmp_path: Path) -> None:
    for version, names in ((1, ["age"]), (2, [])):
        publish(tmp_path, "shop", version)
        manifest = tmp_path / "shop" / str(version) / contract.MANIFEST
        manifest.parent.mkdir()
        manifest.write_text(json.dumps({"context": [{"name": name, "type": "number"} for name in names]}))
    _check_context({"age": 3}, endpoint(tmp_path, version=1))
    with pytest.raises(InputError, match=r"--context device: .* \(it takes: age\)"):
        _check_context({"device": "ios"}, endpoint(tmp_path, version=1))
    with pytest.raises(InputError, match=r"--context age: .* \(it takes: none\)"):
        _check_context({"age": 3}, endpoint(tmp_path))
    _check_context({"device": "ios"}, endpoint(tmp_path, version=9))  # which is elsewhere


def test_without_a_config_it_is_told_that_nothing_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    _check_context({}, endpoint(None))
    assert capsys.readouterr().err == ""
    _check_context({"devise": "ios"}, endpoint(None))
    assert "whether the model takes these features can't be told without its config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "h:1 refused the request: assertion failed: [filter is NAME=VALUE with NAME one of: brand; or NAME=NUMBER, "
            "NAME<=NUMBER or NAME>=NUMBER with one of: none (serving.filters in the config); not] [colour=red]\n"
            "\t [[{{function_node __inference_x_1}}{{node Assert/Assert}}]]",
            "h:1 refused the request: filter is NAME=VALUE with NAME one of: brand; or NAME=NUMBER, NAME<=NUMBER or "
            "NAME>=NUMBER with one of: none (serving.filters in the config); not colour=red",
        ),
        (
            "h:1 refused the request: assertion failed: [k must be at most 9\nCondition x <= y did not hold] [x] [31]",
            "h:1 refused the request: k must be at most 9",
        ),
        ("model 'x' isn't served at h:1: Servable not found", "model 'x' isn't served at h:1: Servable not found"),
    ],
)
def test_what_the_server_says_is_one_line_without_tensorflows_words(message: str, line: str) -> None:
    assert _one_line(message) == line
