"""`recommender evaluate`: which model it takes, and what it says of it without a run of the pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import InputError
from components.evaluation_report import load_report
from components.evaluator.baselines import BaselineSettings
from pipeline.config import Config
from pipeline.local.evaluate import evaluate, find_model
from serving.stores import ObjectPath
from tests.components.conftest import ITEMS, write_servable
from tests.components.conftest import s3 as s3
from tests.components.stores import enter, make_bucket


def make_version(base: Path, number: int) -> Path:
    directory = base / str(number)
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"")
    return directory


def test_the_newest_version_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    config, versions = make_config(tmp_path), tmp_path / "models" / "shop"
    nine, ten = make_version(versions, 9), make_version(versions, 10)
    assert find_model(config, None) == ten
    assert find_model(config, "9") == nine
    assert find_model(config, str(nine)) == nine


@pytest.mark.slow
def test_a_version_in_a_store_is_copied_once(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(s3, monkeypatch)
    make_bucket("s3://evaluated")
    base = ObjectPath("s3://evaluated/models")
    config = make_config(tmp_path)
    config = config.model_copy(update={"serving": config.serving.model_copy(update={"base_path": base})})
    for number in (9, 10):
        (base / "shop" / str(number) / "saved_model.pb").write_bytes(b"%d" % number)
    found = find_model(config, None)
    assert (found.name, (found / "saved_model.pb").read_bytes()) == ("10", b"10")
    assert found.is_relative_to(tmp_path / "output" / "shop")
    (found / "mark").touch()
    assert (find_model(config, "10") / "mark").exists()
    (base / "shop/10/saved_model.pb").write_bytes(b"another")
    again = find_model(config, "10")
    assert (again.name, (again / "saved_model.pb").read_bytes()) == ("10", b"another")
    assert (find_model(config, "9") / "saved_model.pb").read_bytes() == b"9"
    with pytest.raises(InputError, match=r"neither a version in s3://evaluated/models/shop \(there are: 9, 10\)"):
        find_model(config, "11")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"no version; make one with `recommender run`, or name one by --version"),
        ("11", r"--version 11: neither a version in .* \(there are: none\) nor the directory of a SavedModel"),
        ("/no/such/place", "--version /no/such/place: neither a version"),
    ],
)
def test_a_model_that_is_not_there(tmp_path: Path, model: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_model(make_config(tmp_path), model)


def make_config(root: Path, **evaluation: object) -> Config:
    return Config.model_validate(
        {
            "name": "shop",
            "output": root / "output",
            "serving": {"base_path": root / "models"},
            "data": {"interactions": {"path": str(root / "log.csv")}},
            "evaluation": {"min_slice_size": 1, "bootstrap_replicates": 10, **evaluation},
        }
    )


class World:
    """A shop whose users go through the items one after the other, and a model that knows it."""

    def __init__(self, root: Path):
        self.root = root
        rows = [
            f"u{user},{ITEMS[(user + place) % 20]},{1_000_000 + 1000 * place + user}"
            for user in range(30)
            for place in range(5)
        ]
        (root / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]), encoding="utf-8")
        self.model = write_servable(root / "model")

    def __call__(self, model: str | None, out: Path | None = None, **evaluation: object) -> int:
        return evaluate(make_config(self.root, **evaluation), model, out).exit_code

    def nodes(self, said: str) -> dict[str, str]:
        return {line.split()[1]: line.split()[2] for line in said.splitlines() if line[:2] in ("✓ ", "= ")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capfd.readouterr().out


@pytest.mark.slow
def test_a_saved_model_and_then_a_pushed_version(world: World, tmp_path: Path, say: Callable[[], str]) -> None:
    assert world(str(world.model), tmp_path / "figures") == 0
    said = say()
    assert world.nodes(said)["evaluation"] == "done"
    assert world.nodes(said)["InteractionGen"] == "done"
    assert "Trainer" not in said
    assert "it has seen the answers" not in said
    assert "popularity" in said
    assert f"{world.model}; {tmp_path / 'figures'} has the figures" in said.replace("\n", "")
    report = load_report(str(tmp_path / "figures"))
    assert list(report.metrics) == ["candidate", *BaselineSettings().names]
    assert report.metrics["candidate"]["overall"]["hit_rate@1"] == 1
    assert "overall" in report.slices()

    version = shutil.copytree(world.model, world.root / "models" / "shop" / "7")
    (version / "assets.extra" / "release.json").write_text(json.dumps({"judged": "f0"}), encoding="utf-8")
    assert world(None, thresholds={"hit_rate@1": {"min": 0.5}}) == 0
    said = say()
    assert "it has seen the answers: this version was trained on all events" in said
    assert world.nodes(said) == {
        "InteractionGen": "cached",
        "CatalogueGen": "cached",
        "CatalogueSchemaGen": "cached",
        "evaluation": "done",
        "hit@1": "1.0000",
    }
    assert "models/shop/7" in said.replace("\n", "")


@pytest.mark.slow
def test_a_threshold_that_is_not_met(world: World, say: Callable[[], str]) -> None:
    assert world(str(world.model), thresholds={"coverage@10": {"min": 1.1}}) == 3
    assert "is below 1.1000" in say()


@pytest.mark.slow
def test_a_saved_model_of_another_kind(world: World, tmp_path: Path, say: Callable[[], str]) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no model at all")
    assert world(str(tmp_path)) == 2
    assert "is no SavedModel" in say()


def test_an_out_that_is_a_file(tmp_path: Path) -> None:
    make_version(tmp_path / "models" / "shop", 7)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: can't be written: Not a directory"):
        evaluate(make_config(tmp_path), None, tmp_path / "file")
    assert not (tmp_path / "output").exists()


def test_nothing_is_run_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a version"):
        evaluate(make_config(tmp_path), "20200101000000")
    assert not (tmp_path / "output").exists()
