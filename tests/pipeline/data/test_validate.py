"""What is said of a config and its data before a run, and what each run checks first."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
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
    log.write_text("user_id,item_id,timestamp\nu,i,1\nu,j,2\nv,i,3\n", encoding="utf-8")
    config = load_config(
        config_file(tmp_path, MINIMAL.replace("log.csv", str(log))),
        ("serving.index.type=scann", f"output={tmp_path}", f"serving.base_path={tmp_path}"),
    )
    if fits:
        assert any("interactions: 1 file," in finding.text for finding in validate(config))
    else:
        with pytest.raises(InputError, match=r"scann 1\.3\.2.*TensorFlow 2\.16.*serving\.index\.type: exact"):
            list(validate(config))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A log in two files, users and items."""
    (tmp_path / "log-1.csv").write_text("u,i,t,device,x\na,x,1600000000,ios,\nb,y,1600000009,,\n")
    (tmp_path / "log-2.csv").write_text("device,t,i,u\nios,1600000100,y,a\nweb,1600000000,x,a\n")
    (tmp_path / "users.csv").write_text("user_id,born\na,1980\n")
    (tmp_path / "items.csv").write_text("item_id,title\nx,Ex\ny,Why\nz,Zed\n")
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


def test_of_very_many_columns_some_are_named(tmp_path: Path) -> None:
    rows = [[f"u{k % 3}", f"i{k % 5}", 1_600_000_000 + k, *[1] * 103] for k in range(20)]
    header = ["user_id", "item_id", "timestamp", *(f"c{k}" for k in range(103))]
    (tmp_path / "log.csv").write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    config = Config.model_validate(
        {
            "name": "shop",
            "data": {"interactions": {"path": f"{tmp_path}/log.csv"}},
            "output": tmp_path / "output",
            "serving": {"base_path": tmp_path / "models"},
        }
    )
    [said] = [each.details[-1] for each in validate(config) if each.text.startswith("interactions")]
    assert said.startswith("not read: c0, c1, ")
    assert said.endswith(", c99 and 3 more")


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_understood_of_each_table_is_said(shop: Path) -> None:
    found = list(validate(config_of(shop)))
    assert [(finding.text, finding.details) for finding in found if not finding.is_warning] == [
        ("config shop: all keys are known and valid, output and base path can be written", ()),
        (
            "interactions: 2 files, 0.0 MiB, CSV with ',' between columns, a header, utf-8; all 4 rows read",
            (
                "column  as         type     such as",
                "u       user_id    text     a, b",
                "i       item_id    text     x, y",
                "t       timestamp  seconds  1600000000, 1600000009",
                "device  device     text     ios",
                "not read: x",
            ),
        ),
        (
            "users: 1 file, 0.0 MiB, CSV with ',' between columns, a header, utf-8; all 1 rows read",
            (
                "column   as   type           such as",
                "user_id  id   text           a",
                "born     age  whole numbers  1980",
            ),
        ),
        (
            "events: 3 of 2 users with 2 items, 2020-09-13 12:26:40 to 2020-09-13 12:28:20 UTC",
            (
                "user_id  item_id  timestamp            weight  device  age",
                "a        x        2020-09-13 12:26:40  1       ios     1980",
                "b        y        2020-09-13 12:26:49  1",
                "a        y        2020-09-13 12:28:20  1       ios     1980",
                "split by time: 4 rows read: 2 train, 1 eval (cut 2020-09-13 12:28:20 UTC); dropped 1 (1 duplicates); "
                "rejected 0",
            ),
        ),
        (
            "catalogue: 1 file, 0.0 MiB, CSV with ',' between columns, a header, utf-8; all 3 rows read",
            (
                "column   as            type  such as",
                "item_id  item_id       text  x, y, z",
                "title    title (text)  text  Ex, Why, Zed",
            ),
        ),
        ("items: 3 listed, 0 only in the log; rejected 0", ("shown as 'x', 'y', 'z'",)),
    ]
    assert [finding.text.partition(":")[0] for finding in found if finding.is_warning] == [
        "1 of 4 rows repeat the user, item and time of an earlier one and are dropped (see deduplicate)"
    ]
    assert sorted(path.name for path in shop.iterdir()) == ["items.csv", "log-1.csv", "log-2.csv", "users.csv"]


def test_the_same_as_facts(shop: Path) -> None:
    facts = {key: value for finding in validate(config_of(shop)) for key, value in finding.facts.items()}
    assert facts["interactions"] == {
        "files": 2,
        "bytes": sum((shop / f"log-{number}.csv").stat().st_size for number in (1, 2)),
        "format": "CSV with ',' between columns, a header, utf-8",
        "rows_read": 4,
        "all_read": True,
        "rows": 4,
        "columns": [
            {"column": "u", "as": "user_id", "type": "text", "examples": ["a", "b"]},
            {"column": "i", "as": "item_id", "type": "text", "examples": ["x", "y"]},
            {"column": "t", "as": "timestamp", "type": "seconds", "examples": ["1600000000", "1600000009"]},
            {"column": "device", "as": "device", "type": "text", "examples": ["ios"]},
        ],
        "other_columns": ["x"],
    }
    log = facts["log"]
    assert (log["users"], log["items"], log["events"], log["split"]) == (2, 2, {"eval": 1, "train": 2}, "time")
    assert log["first_events"][0] == {
        "user_id": "a",
        "item_id": "x",
        "timestamp": "2020-09-13 12:26:40",
        "weight": 1.0,
        "device": "ios",
        "age": 1980.0,
    }
    assert facts["items"] == {"listed": 3, "shown_as": ["x", "y", "z"]}


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "log-2.csv",
            "u,i,t,device\na,b,c,d,e\n",
            r"1 of 4 rows can't be used.*log-2\.csv: 1 × 5 columns instead of 4",
        ),
        ("log-1.csv", "u,i,t,device\na,b,today,ios\n", "holds 'today', neither a number nor a time"),
        ("users.csv", "user_id,born\na,young\n", r"users\.csv: 1 × born is not a number"),
        ("users.csv", "user_id,born\na,1\na,2\n", r"users are listed more than once: 'a' \(rows 2, 3\)"),
        ("users.csv", "user_id,born\nz,1\n", r"users\.csv lists none of the log's users"),
        ("items.csv", "item_id,title\nx,Ex\nx,Ex\n", r"item ids must be unique.*'x' \(rows 2, 3\)"),
        ("items.csv", "item_id,title\nq,Ex\n", r"items\.csv is a catalogue without the items of the log"),
        ("items.csv", "item_id,title\n", r"items\.csv: there are no rows"),
        ("items.csv", "item_id,title\nx\n", "the catalogue: 1 of 1 rows can't be used"),
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
    with pytest.raises(InputError, match=f"(?s){message}"):
        list(validate(config_of(shop)))


def test_values_that_the_settings_rule_out_end_a_run_and_so_this(shop: Path) -> None:
    (shop / "log-1.csv").write_text("u,i,t,device\na,x,1600000000,ios\nb,y,1600000009,fax\nc,y,1600000010,\n")
    log = config_of(shop).data.interactions.model_dump()
    log["features"]["device"]["values"] = ("ios", "web")
    log["users"]["features"]["age"] |= {"min": 1990}
    log["columns"]["rating"], log["rating_range"] = "t", (0, 1)
    with pytest.raises(InputError) as caught:
        list(validate(config_of(shop, data={"interactions": log})))
    assert str(caught.value).splitlines()[1:] == [
        "  age: 2 of 4 events are outside of 1990 to inf, such as 1980",
        "  rating: 4 of 4 events are outside of 0 to 1, such as 1.6e+09",
        "  device: 1 of 4 events have values that are not listed, such as 'fax'",
    ]


def test_a_run_itself_only_looks_at_the_heads_of_the_tables(shop: Path) -> None:
    (shop / "log-1.csv").write_text("u,i,t,device\na\n")
    config = config_of(shop)
    check_data(config, data_paths(config))
    (shop / "log-2.csv").write_text("u,i,t\n")
    with pytest.raises(InputError, match=r"log-2\.csv has no column 'device'"):
        check_data(config, data_paths(config))


@pytest.mark.slow
@pytest.mark.smoke
def test_what_was_found_before_a_mistake_is_said(shop: Path) -> None:
    (shop / "items.csv").unlink()
    checks = validate(config_of(shop))
    found = ("config", "interactions", "users", "events")
    assert tuple(next(checks).text.split()[0].rstrip(":") for _ in range(4)) == found
    assert next(checks).is_warning
    with pytest.raises(InputError, match="catalogue"):
        next(checks)


def test_a_log_alone_is_enough(shop: Path) -> None:
    log = {"path": f"{shop}/log-*.csv", "columns": {"user_id": "u", "item_id": "i", "timestamp": "t"}}
    found = list(validate(config_of(shop, data={"interactions": log})))
    assert [finding.text.partition(":")[0] for finding in found[:3]] == ["config shop", "interactions", "events"]


def test_types_that_answers_are_to_leave_out_are_looked_for(shop: Path) -> None:
    columns = {"user_id": "u", "item_id": "i", "timestamp": "t", "event": "device"}
    log = {"path": f"{shop}/log-2.csv", "columns": columns, "split": {"eval_fraction": 0.5}}
    config = config_of(shop, data={"interactions": log})
    serving = config.serving.model_copy(update={"exclude": ("androd", "web")})
    said = [finding.text for finding in validate(config.model_copy(update={"serving": serving})) if finding.is_warning]
    assert said == ["no event is of type 'androd', which serving.exclude names: there are 'ios', 'web'"]


def test_files_of_evaluation_events_are_checked_as_the_log_is(shop: Path) -> None:
    columns = {"user_id": "u", "item_id": "i", "timestamp": "t"}
    split = {"method": "files", "eval_path": f"{shop}/users.csv"}
    config = config_of(shop, data={"interactions": {"path": f"{shop}/log-2.csv", "columns": columns, "split": split}})
    with pytest.raises(InputError, match=r"users\.csv has no column 'u', 'i', 't'"):
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


@pytest.mark.slow
@pytest.mark.smoke
def test_vectors_of_a_column_and_beside_the_catalogue(shop: Path) -> None:
    (shop / "items.csv").write_text('item_id,look\nx,"1, 2"\ny,\nz,0 1\n')
    np.save(shop / "sound.npy", np.ones((3, 4), np.float16))
    (shop / "ids.txt").write_text("x\ny\nother\n")
    sound = {"type": "vector", "path": f"{shop}/sound.npy", "ids": f"{shop}/ids.txt"}
    log = config_of(shop).data.interactions.model_dump()
    items = {"path": f"{shop}/items.csv", "features": {"look": {"type": "vector"}, "sound": sound}}
    config = config_of(shop, data={"interactions": log, "catalogue": items})
    found = list(validate(config))
    [table] = [finding for finding in found if finding.text.startswith("catalogue: ")]
    assert table.details[2] == "look     look (embedding)  text  1, 2, 0 1"
    [beside] = [finding for finding in found if finding.text.startswith("vectors ")]
    assert beside.text == "vectors sound: 3 of 4 numbers, float16, such as of 'x'"
    assert "sound: no vector of 1 of 3 items, vectors of 1 id that is no item" in [finding.text for finding in found]
    checked = check_data(config, data_paths(config)).data.catalogue.features
    assert (checked["look"].dim, checked["sound"].dim) == (2, 4)
    np.save(shop / "sound.npy", np.ones((2, 4)))
    for check in (lambda: list(validate(config)), lambda: check_data(config, data_paths(config))):
        with pytest.raises(InputError, match=r"sound\.npy has 2 rows, but .*ids\.txt has 3 ids"):
            check()
    (shop / "items.csv").write_text("item_id,look\nx,1 2\ny,1 2\nz,1 2 3\n")
    with pytest.raises(InputError, match=r"1 × look has not 2 numbers \(see dim\) \(rows 4: 'z,1 2 3'\)"):
        list(validate(config))


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
