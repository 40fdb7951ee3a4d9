"""What `recommender reindex` needs no DAG for; tests/e2e/test_reindex.py runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError
from components.evaluator.settings import Threshold
from components.tables import encoders
from components.tables.features import ItemFeature
from pipeline.config import Config
from pipeline.local.reindex import Trained, find_trained, reindex, with_rivals_only


@pytest.mark.parametrize(
    ("thresholds", "left"),
    [
        ({}, ()),
        ({"hit_rate@10": Threshold(max_drop=0.01)}, ()),
        ({"ndcg@10": Threshold(beat_popularity=True)}, ("popularity",)),
        (
            {"ndcg@10": Threshold(beat_popularity=True), "mrr": Threshold(beat_baselines=("ease",))},
            ("popularity", "ease"),
        ),
        ({"mrr": Threshold(beat_baselines=True)}, ("popularity",)),
    ],
)
def test_only_baselines_that_decide_are_fitted(thresholds: dict[str, Threshold], left: tuple[str, ...]) -> None:
    config = Config(name="shop", data={"interactions": {"path": "log.csv"}}, evaluation={"thresholds": thresholds})
    changed = with_rivals_only(config)
    assert changed.evaluation.baselines.names == left
    for metric, threshold in config.evaluation.thresholds.items():
        named = ("popularity",) if threshold.beat_baselines is True else threshold.beat_baselines
        assert changed.evaluation.thresholds[metric] == threshold.model_copy(update={"beat_baselines": named})
    # All else is as it was: the nodes before the Evaluator come from the cache.
    same = {"evaluation": {"baselines": {"names"}, "thresholds": True}}
    assert changed.model_dump(exclude=same) == config.model_dump(exclude=same)


# ---------------------------------------------------------------- the model that is there

Execution, Event = metadata_store_pb2.Execution, metadata_store_pb2.Event


class History:
    """A pipeline's metadata, written as TFX does: each execution belongs to its run and to its node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = metadata_store_pb2.ConnectionConfig()
        memory.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(memory)
        monkeypatch.setattr("pipeline.metadata.open_store", lambda connection: self.store)

    def execution(
        self,
        run: str,
        node: str,
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
        state: int = Execution.COMPLETE,
        **properties: str,
    ) -> int:
        """Adds one; returns its id. Inputs and outputs are artifacts by key."""
        made = Execution(type_id=self._type("execution", node), last_known_state=state)
        for name, value in properties.items():
            made.custom_properties[name].string_value = value
        sides = ((Event.INPUT, inputs or {}), (Event.OUTPUT, outputs or {}))
        pairs = []
        for side, artifacts in sides:
            for key, identity in artifacts.items():
                event = Event(type=side, artifact_id=identity)
                event.path.steps.add().key = key
                pairs.append((self.store.get_artifacts_by_id([identity])[0], event))
        contexts = [self._context("pipeline_run", run), self._context("node", f"shop.{node}")]
        return self.store.put_execution(made, pairs, contexts)[0]

    def artifact(self, uri: str) -> int:
        made = metadata_store_pb2.Artifact(type_id=self._type("artifact", "Any"), uri=uri)
        return self.store.put_artifacts([made])[0]

    def _type(self, kind: str, name: str) -> int:
        made = getattr(metadata_store_pb2, f"{kind.capitalize()}Type")(name=name)
        return getattr(self.store, f"put_{kind}_type")(made)

    def _context(self, kind: str, name: str) -> metadata_store_pb2.Context:
        found = self.store.get_context_by_type_and_name(kind, name)
        return found or metadata_store_pb2.Context(type_id=self._type("context", kind), name=name)


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    return History(monkeypatch)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "name": "shop",
            "output": str(tmp_path / "output"),
            "serving": {"base_path": str(tmp_path / "models")},
            "data": {
                "interactions": {"path": "log.csv"},
                "catalogue": {"path": "items.csv", "features": {"colour": {"type": "category"}}},
            },
        }
    )


def trained(
    history: History, run: str, colour: str = "category", excluded_types: str = "[]", **properties: str
) -> dict[str, int]:
    """A run that trains; returns what its nodes made and their executions. The properties are CatalogueGen's."""
    ids = {name: history.artifact(f"/{run}/{name}") for name in ("events", "items", "transformed", "model")}
    ids["InteractionGen"] = history.execution(
        run, "InteractionGen", outputs={"examples": ids["events"]}, excluded_types=excluded_types
    )
    outputs = {"examples": ids["items"], "schema": history.artifact("/schema")}
    history.execution(run, "CatalogueGen", outputs=outputs, **properties)
    history.execution(
        run, "CatalogueTransform", {"examples": ids["items"]}, {"transformed_examples": ids["transformed"]}
    )
    ids["Trainer"] = history.execution(
        run,
        "Trainer",
        {"examples": ids["events"], "catalogue": ids["items"]},
        {"model": ids["model"]},
        custom_config=json.dumps({"features": {"colour": colour}}),
    )
    return ids


def test_without_a_training_there_is_nothing_to_index_by(history: History, config: Config) -> None:
    with pytest.raises(InputError, match="shop: no training has ended yet: train a model by `recommender run`"):
        find_trained(config)
    history.execution("1", "Trainer", state=Execution.FAILED)
    with pytest.raises(InputError, match="no training has ended yet"):
        find_trained(config)


def test_the_last_training_counts_and_what_it_was_trained_with(history: History, config: Config) -> None:
    trained(history, "1")
    second = trained(history, "2")
    history.execution("3", "InteractionGen", outputs={"examples": history.artifact("/3/events")})
    history.execution("3", "Trainer", state=Execution.RUNNING)  # and then killed
    executions = {node: second[node] for node in ("InteractionGen", "Trainer")}
    assert find_trained(config) == Trained(executions, "/2/items", {"colour": "category"}, "")


def test_a_training_from_the_cache_has_its_settings_where_it_was_made(history: History, config: Config) -> None:
    first = trained(history, "1")
    cached = {
        "InteractionGen": history.execution(
            "2", "InteractionGen", outputs={"examples": first["events"]}, state=Execution.CACHED
        ),
        "Trainer": history.execution(
            "2",
            "Trainer",
            {"examples": first["events"], "catalogue": first["items"]},
            {"model": first["model"]},
            state=Execution.CACHED,
        ),
    }
    assert find_trained(config) == Trained(cached, "/1/items", {"colour": "category"}, "")


def test_what_is_shipped_comes_from_the_last_run_too(
    history: History, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(history, "1")
    assert reindex(config).exit_code == 2
    assert "serving.ship: the last run trained no model on all events" in " ".join(capfd.readouterr().out.split())
    shipped = history.execution("1", "ShippedTrainer", outputs={"model": history.artifact("/1/shipped")})
    assert find_trained(config).executions["ShippedTrainer"] == shipped


def test_other_features_than_the_model_has_are_refused(
    history: History, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(history, "1", colour="text")
    assert reindex(config).exit_code == 2
    said = "the model was trained with colour (text), the config has colour (category); train it again by"
    assert said in capfd.readouterr().out


def test_types_of_events_that_the_queries_know_nothing_of_are_refused(
    history: History, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(history, "1", excluded_types='["buy"]')
    assert find_trained(config).excluded_types == ("buy",)
    changed = config.model_copy(update={"serving": config.serving.model_copy(update={"exclude": ("cart",)})})
    assert reindex(changed).exit_code == 2
    said = " ".join(capfd.readouterr().out.split())
    assert "serving.exclude: cart: the events were read for buy; read them again by `recommender run`" in said


def test_texts_that_another_encoder_would_make_vectors_of_are_refused(
    history: History, config: Config, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "versions", lambda names: ", ".join(f"{name} 2.0" for name in names))
    trained(history, "1", colour="vector", encoders="wordllama 1.0")
    assert find_trained(config).encoders == "wordllama 1.0"
    colour = ItemFeature(type="text", encoder="wordllama")
    catalogue = config.data.catalogue.model_copy(update={"features": {"colour": colour}})
    changed = config.model_copy(update={"data": config.data.model_copy(update={"catalogue": catalogue})})
    assert reindex(changed).exit_code == 2
    said = " ".join(capfd.readouterr().out.split())
    assert "knows texts as wordllama 1.0 encodes them, and what is installed is wordllama 2.0: vectors of two" in said


def test_vectors_of_another_length_are_refused(
    history: History, config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = CatalogueSettings(features={"colour": ItemFeature(type="vector", dim=3)})
    trained(history, "1", colour="embedding", settings=settings.model_dump_json())
    assert find_trained(config).widths == {"colour": 3}
    (tmp_path / "items.csv").write_text("item_id,colour\na,1 2\n")
    items = {"path": f"{tmp_path}/items.csv", "features": {"colour": ItemFeature(type="vector")}}
    catalogue = config.data.catalogue.model_copy(update=items)
    changed = config.model_copy(update={"data": config.data.model_copy(update={"catalogue": catalogue})})
    assert reindex(changed).exit_code == 2
    said = " ".join(capfd.readouterr().out.split())
    assert "the model was trained with vectors of 3 numbers (colour), the data have 2 numbers (colour); give" in said


def test_a_config_without_a_catalogue_is_refused(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    data = config.data.model_copy(update={"catalogue": config.data.catalogue.model_copy(update={"path": ""})})
    assert reindex(config.model_copy(update={"data": data})).exit_code == 2
    assert "data.catalogue.path: without a catalogue there is nothing to index anew" in capfd.readouterr().out
