"""When a run goes on from the last shipped model, and when it begins anew."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from components import suppression
from components.examples.past import Read
from components.tables.reading import digests, find_files
from components.versions import RELEASE
from pipeline.config import Config
from pipeline.config.incremental import Before
from pipeline.local.incremental import find_before
from serving import contract
from tests.pipeline.local.test_reindex import History

ORIGIN = {"config": "11", "learned_by": "12", "code": "0.3"}
VERSION = "20260101030405"


@dataclasses.dataclass
class Shop:
    """A shop with a log of days, of which all but the last were read for the version that serves."""

    root: Path
    history: History
    lineage: dict[str, Any]

    def find(self, origin: dict[str, str] | None = None, **changes: Any) -> tuple[Before | None, str]:
        data = {"interactions": {"path": str(self.root / "log" / "*.csv"), **changes}}
        serving = {"base_path": str(self.root / "models")}
        config = Config.model_validate(
            {"name": "shop", "data": data, "serving": serving, "incremental": {"full_every": 3}}
        )
        return find_before(config, config.data.interactions.path, origin or ORIGIN, self.history.store)

    def note(self, nights: int = 0) -> None:
        """Notes all days that are there as read."""
        files = find_files(str(self.root / "log" / "*.csv"), "auto", "log")
        Read(dict(zip((file.path for file in files), digests(files))), nights=nights).write(str(self.root / "all"))

    def release(self) -> None:
        about = {"lineage": {**ORIGIN, "artifacts": {"model": self.lineage["model"]}, **self.lineage}}
        (self.root / "models" / "shop" / VERSION / RELEASE).write_text(json.dumps(about))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    history = History(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output" / "shop").mkdir(parents=True)
    version = tmp_path / "models" / "shop" / VERSION
    (version / contract.MANIFEST).parent.mkdir(parents=True)
    (version / contract.SAVED_MODEL).write_text("")
    (version / contract.MANIFEST).write_text(json.dumps({"fingerprint": "abc"}))
    ids = {
        name: history.artifact(str(tmp_path / name))
        for name in ("all", "graph", "transformed", "items", "items_graph", "towers", "run", "model")
    }
    inputs = {
        "examples": ids["transformed"],
        "transform_graph": ids["graph"],
        "catalogue": ids["items"],
        "catalogue_graph": ids["items_graph"],
    }
    history.execution("1", "ShippedTrainer", inputs, {"model": ids["towers"], "model_run": ids["run"]})
    inputs = {"towers": ids["towers"], "interactions": ids["all"]}
    history.execution("1", "ShippedIndexer", inputs, {"model": ids["model"]})
    [model] = history.store.get_artifacts_by_id([ids["model"]])
    model.custom_properties["fingerprint"].string_value = "abc"
    history.store.put_artifacts([model])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.npz").write_text("")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "1.csv").write_text("a")
    found = Shop(tmp_path, history, {"model": ids["model"]})
    found.note()
    found.release()
    (tmp_path / "log" / "2.csv").write_text("b")
    return found


def test_what_is_new_is_read_alone(shop: Shop) -> None:
    before, why = shop.find()
    assert why == f"1 of 2 files are new, on from version {VERSION}"
    assert before == Before(
        version=VERSION,
        examples=str(shop.root / "all"),
        transform_graph=str(shop.root / "graph"),
        transformed_examples=str(shop.root / "transformed"),
        catalogue_graph=str(shop.root / "items_graph"),
        run=str(shop.root / "run"),
    )


def test_with_nothing_new_a_run_is_what_it_was(shop: Shop) -> None:
    (shop.root / "log" / "2.csv").unlink()
    assert shop.find() == (None, f"no file is new since version {VERSION}")


def test_with_nothing_new_a_run_that_went_on_goes_on_from_where_it_did(shop: Shop) -> None:
    (shop.root / "log" / "2.csv").unlink()
    history, root = shop.history, shop.root
    earlier = {name: history.artifact(f"/earlier/{name}") for name in ("examples", "graph", "made", "items", "run")}
    read, new, items, ship = (history.artifact(f"/new/{name}") for name in ("read", "transformed", "items", "all"))
    history.execution("2", "InteractionGen", {"before": earlier["examples"]}, {"examples": read})
    history.execution("2", "AllEvents", {"examples": read}, {"all_examples": ship})
    inputs = {"graph_before": earlier["graph"], "transformed_before": earlier["made"]}
    history.execution("2", "Transform", inputs, {"transformed_examples": new})
    history.execution("2", "CatalogueTransform", {"graph_before": earlier["items"]}, {"transform_graph": items})
    shipped, graph, towers = (history.artifact(str(root / name)) for name in ("transformed", "graph", "towers 2"))
    history.execution(
        "2",
        "ShippedTransform",
        {"transformed_before": new},
        {"transformed_examples": shipped, "transform_graph": graph},
    )
    inputs = {"examples": shipped, "transform_graph": graph, "catalogue_graph": items, "before": earlier["run"]}
    history.execution(
        "2", "ShippedTrainer", inputs, {"model": towers, "model_run": history.artifact(str(root / "run"))}
    )
    [model] = history.store.get_artifacts_by_id([history.artifact("/model 2")])
    model.custom_properties["fingerprint"].string_value = "abc"
    history.store.put_artifacts([model])
    read_on = history.artifact(str(root / "all"))
    history.execution("2", "AllEventsAgain", {"examples": read}, {"all_examples": read_on})
    history.execution("2", "ShippedIndexer", {"towers": towers, "interactions": read_on}, {"model": model.id})
    shop.lineage["model"] = model.id
    shop.release()
    assert shop.find()[0] == Before(
        version="",
        examples="/earlier/examples",
        transform_graph="/earlier/graph",
        transformed_examples="/earlier/made",
        catalogue_graph="/earlier/items",
        run="/earlier/run",
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda shop: (shop.root / "log" / "1.csv").write_text("c"), "log/1.csv has changed"),
        (lambda shop: (shop.root / "log" / "1.csv").unlink(), "log/1.csv is no more"),
        (lambda shop: (shop.root / "run" / "weights.npz").unlink(), "what version 20260101030405 was made of is gone"),
        (lambda shop: (shop.root / "all" / "log.json").unlink(), "what version 20260101030405 was made of is gone"),
        (
            lambda shop: (shop.root / "models" / "shop" / VERSION / contract.SAVED_MODEL).unlink(),
            "nothing was shipped yet",
        ),
    ],
)
def test_what_makes_a_run_begin_anew(shop: Shop, change: Any, why: str) -> None:
    change(shop)
    before, said = shop.find()
    assert before is None
    assert said.startswith("in full: ")
    assert said.endswith(why)


def test_another_config_and_other_code_make_a_run_begin_anew(shop: Shop) -> None:
    assert shop.find({**ORIGIN, "config": "10"})[0] is not None  # what it is judged by may change
    assert shop.find({**ORIGIN, "learned_by": "13"}) == (None, f"in full: version {VERSION} was made by another config")
    assert shop.find({**ORIGIN, "code": "0.4"}) == (None, f"in full: version {VERSION} was made by another code")


def test_old_days_may_go_where_only_a_window_counts(shop: Shop) -> None:
    (shop.root / "log" / "1.csv").unlink()
    assert shop.find(window_days=30)[1] == f"1 of 1 files are new, on from version {VERSION}"


def test_every_so_many_runs_one_is_in_full(shop: Shop) -> None:
    (shop.root / "log" / "2.csv").unlink()
    for nights, full in ((0, False), (1, False), (2, True)):
        shop.note(nights)
        (shop.root / "log" / "2.csv").write_text("b")
        before, why = shop.find()
        assert (before is None) is full
        assert not full or why == "in full: 2 runs have read what was new alone"
        (shop.root / "log" / "2.csv").unlink()


def test_weights_that_have_learned_from_who_is_forgotten_are_not_gone_on_from(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shop.root / "forgotten.json"
    monkeypatch.setattr(Config, "suppression", lambda _: path)
    assert shop.find()[0] is not None
    suppression.add(str(path), ["ann"])
    assert shop.find() == (None, f"in full: users were forgotten since version {VERSION}")


def test_a_model_that_is_another_one_is_not_gone_on_from(shop: Shop) -> None:
    (shop.root / "models" / "shop" / VERSION / contract.MANIFEST).write_text(json.dumps({"fingerprint": "other"}))
    assert shop.find() == (None, f"in full: what version {VERSION} was made of is gone")
