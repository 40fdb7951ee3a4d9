"""What is checked before a run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from components.tables.features import ItemFeature
from pipeline.config import Config, load_config
from pipeline.data.paths import data_paths
from pipeline.data.validate import check_data, validate
from tests.pipeline.config.test_config import MINIMAL, config_file


@pytest.mark.parametrize(
    ("versions", "fits"),
    [
        ({"scann": "1.3.2", "tensorflow": "2.16.2"}, True),
        ({"scann": "1.4.2", "tensorflow": "2.21.0"}, False),
        ({"scann": "1.3.2", "tensorflow": "2.21.0"}, False),
        ({"tensorflow": "2.16.2"}, False),
        ({}, False),
    ],
)
def test_scann_where_it_does_not_fit_is_told_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], fits: bool
) -> None:
    def version(name: str) -> str:
        if name in versions:
            return versions[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\nu,i,1\n", encoding="utf-8")
    config = load_config(
        config_file(tmp_path, MINIMAL.replace("log.csv", str(log))),
        ("serving.index.type=scann", f"output={tmp_path}", f"serving.base_path={tmp_path}"),
    )
    if fits:
        assert any("interactions: 1 file(s)" in finding for finding in validate(config))
    else:
        with pytest.raises(InputError, match=r"scann 1\.3\.2.*TensorFlow 2\.16.*serving\.index\.type: exact"):
            list(validate(config))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A log in two files, users and items."""
    (tmp_path / "log-1.csv").write_text("u,i,t,device\na,x,1,ios\nbroken\nb,y,2,\n")
    (tmp_path / "log-2.csv").write_text("device,t,i,u\nios,1,x,a\n")
    (tmp_path / "users.csv").write_text("user_id,born\na,1980\n")
    (tmp_path / "items.csv").write_text("item_id,title\n")
    return tmp_path


def config_of(folder: Path, **more: Any) -> Config:
    log = {
        "path": f"{folder}/log-*.csv",
        "columns": {"user_id": "u", "item_id": "i", "timestamp": "t"},
        "features": {"device": {"type": "category"}},
        "users": {"path": f"{folder}/users.csv", "features": {"age": {"type": "number", "column": "born"}}},
    }
    items = {"path": f"{folder}/items.csv", "features": {"title": {"type": "text"}}}
    places = {"output": folder / "output", "serving": {"base_path": folder / "models"}}
    return Config.model_validate({"name": "shop", "data": {"interactions": log, "catalogue": items}, **places, **more})


@pytest.mark.slow
@pytest.mark.smoke
def test_each_table_is_found_and_its_head_is_read(shop: Path) -> None:
    assert list(validate(config_of(shop))) == [
        "config shop: all keys are known and valid, output and base path can be written",
        "interactions: 2 file(s), 0.0 MiB, columns device, i, t, u; first 2 rows read, 1 malformed",
        "users: 1 file(s), 0.0 MiB, columns born, user_id; first 1 rows read, 0 malformed",
        "catalogue: 1 file(s), 0.0 MiB, columns item_id, title; first 0 rows read, 0 malformed",
    ]
    assert sorted(path.name for path in shop.iterdir()) == ["items.csv", "log-1.csv", "log-2.csv", "users.csv"]


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("log-2.csv", "u,i,t\n", r"log-2\.csv has no column 'device'"),  # of each file, not of the first alone
        ("users.csv", "user_id,age\n", r"users\.csv has no column 'born'"),
        ("items.csv", "id,title\n", r"items\.csv has no column 'item_id'"),
        ("users.csv", None, r"^users: there is no file .*users\.csv$"),
        ("items.csv", "", r"^catalogue: .*items\.csv is empty$"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(shop: Path, file: str, content: str | None, message: str) -> None:
    (shop / file).unlink()
    if content is not None:
        (shop / file).write_text(content)
    with pytest.raises(InputError, match=message):
        list(validate(config_of(shop)))


def test_what_was_found_before_a_mistake_is_said(shop: Path) -> None:
    (shop / "items.csv").unlink()
    config = config_of(shop)
    checks = check_data(config, data_paths(config))
    assert [next(checks).partition(":")[0] for _ in range(2)] == ["interactions", "users"]
    with pytest.raises(InputError, match="catalogue"):
        next(checks)


def test_a_log_alone_is_enough(shop: Path) -> None:
    log = {"path": f"{shop}/log-2.csv", "columns": {"user_id": "u", "item_id": "i", "timestamp": "t"}}
    found = list(validate(config_of(shop, data={"interactions": log})))
    assert [finding.partition(":")[0] for finding in found] == ["config shop", "interactions"]


def test_files_of_evaluation_events_are_checked_as_the_log_is(shop: Path) -> None:
    columns = {"user_id": "u", "item_id": "i", "timestamp": "t"}
    split = {"method": "files", "eval_path": f"{shop}/users.csv"}
    config = config_of(shop, data={"interactions": {"path": f"{shop}/log-2.csv", "columns": columns, "split": split}})
    with pytest.raises(InputError, match=r"users\.csv has no column 'i'"):
        list(validate(config))


def test_a_baseline_whose_package_is_missing_is_told_before_the_data(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "implicit" else find(name))
    (shop / "items.csv").unlink()
    wanted = {"baselines": {"names": ["popularity", "ials"]}}
    with pytest.raises(InputError, match=r"baseline 'ials' needs the package 'implicit'.*evaluation\.baselines\.names"):
        list(validate(config_of(shop, evaluation=wanted)))


def test_an_encoder_whose_package_is_missing_is_told_before_the_data(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tokenizers" else find(name))
    (shop / "items.csv").unlink()
    config = config_of(shop)
    features = {"title": ItemFeature(type="text", encoder="wordllama")}
    catalogue = config.data.catalogue.model_copy(update={"features": features})
    data = config.data.model_copy(update={"catalogue": catalogue})
    with pytest.raises(InputError, match=r"encoder 'wordllama'.*pip install 'recommender-pipeline\[text\]'"):
        list(validate(config.model_copy(update={"data": data})))


def test_a_folder_that_can_not_be_written_is_told_first(shop: Path) -> None:
    (shop / "models").touch()
    with pytest.raises(InputError, match=rf"{shop}/models.*can't be written"):
        next(validate(config_of(shop)))
