"""What a run knows of given vectors before it begins; and items that training never saw, served from them alone."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.catalogue_gen import catalogue, executor
from components.errors import InputError
from components.examples.writing import SHARD_NAME, serialize, write_shard
from components.indexer.index import build_index
from components.indexer.settings import IndexerSettings
from pipeline.config import Config
from pipeline.data.paths import data_paths
from pipeline.data.vectors import with_vectors
from tests.components.indexer.tiny import ask, in_memory


def make(folder: Path, items: str = "", **features: Any) -> Config:
    (folder / "items.csv").write_text(items or "item_id,v\na,\nb,1 2 3\nc,1 2 3\nd,1 2\n", encoding="utf-8")
    content = {"interactions": {"path": "log.csv"}, "catalogue": {"path": str(folder / "items.csv")}}
    content["catalogue"]["features"] = features
    return Config.model_validate({"name": "shop", "data": content})


def complete(config: Config) -> Mapping[str, Any]:
    return with_vectors(config, data_paths(config)).data.catalogue.features


def test_the_length_is_that_of_most_of_the_first_vectors(tmp_path: Path) -> None:
    column = {"type": "vector", "column": "v"}
    assert complete(make(tmp_path, look=column))["look"].dim == 3
    assert complete(make(tmp_path, look={**column, "dim": 2}))["look"].dim == 2
    with pytest.raises(InputError, match=r"features.look: .*items.csv has no vector in the first rows of column 'v'"):
        complete(make(tmp_path, "item_id,v\na,\n", look=column))
    plain = make(tmp_path, v={"type": "text"})
    assert with_vectors(plain, data_paths(plain)) is plain


def test_a_column_of_another_type_is_named_with_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "items.parquet")
    pq.write_table(pa.table({"item_id": ["a"], "v": [{"x": 1.0}]}), path)
    config = make(tmp_path, look={"type": "vector", "column": "v"})
    data = config.data.model_copy(update={"catalogue": config.data.catalogue.model_copy(update={"path": path})})
    with pytest.raises(InputError, match=r"features.look: .*items.parquet: column 'v' is of type struct.* vectors are"):
        complete(config.model_copy(update={"data": data}))


def test_files_are_named_in_full_and_say_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("look.npy", np.zeros((2, 5), np.float16))
    look = {"type": "vector", "path": "look.npy", "ids": "~/ids.txt"}
    found = complete(make(tmp_path, look=look))["look"]
    assert (found.path, found.ids, found.dim) == (f"{tmp_path}/look.npy", str(Path("~/ids.txt").expanduser()), 5)
    np.save("look.npy", np.zeros(2))
    with pytest.raises(InputError, match=r"features.look: .*look.npy is an array of shape \(2,\), where rows of"):
        complete(make(tmp_path, look=look))
    with pytest.raises(InputError, match=r"features.look: there is no file .*none.npy"):
        complete(make(tmp_path, look={**look, "path": "none.npy"}))


def test_a_column_needs_a_catalogue(tmp_path: Path) -> None:
    config = make(tmp_path, look={"type": "vector", "column": "v"})
    data = config.data.model_copy(update={"catalogue": config.data.catalogue.model_copy(update={"path": ""})})
    with pytest.raises(InputError, match=r"a column needs a catalogue, but data.catalogue.path is not given"):
        complete(config.model_copy(update={"data": data}))


GROUPS, OF_EACH = 6, 10
ITEMS = [f"item {number}" for number in range(GROUPS * OF_EACH)]
"""Those with the same remainder by GROUPS are one group, and have like vectors."""
NEW = ITEMS[:GROUPS]
"""A tenth, one of each group; no event has them."""


def given_vectors() -> np.ndarray:
    """[60, 8]: groups around centres that are far from zero, at lengths that say nothing."""
    chance = np.random.default_rng(1)
    centres = 2 + chance.normal(size=(GROUPS, 8))
    near = np.tile(centres, (OF_EACH, 1)) + 0.2 * chance.normal(size=(len(ITEMS), 8))
    return near * chance.uniform(0.1, 10, size=(len(ITEMS), 1))


def some_events() -> dict[str, list[Any]]:
    """300 users, each with five items of one group."""
    chance = np.random.default_rng(2)
    columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "history", "timestamp")}
    for user in range(300):
        had: list[str] = []
        for row in chance.permutation(np.arange(1, OF_EACH))[:5] * GROUPS + user % GROUPS:
            columns["user_id"].append(f"user {user}")
            columns["item_id"].append(ITEMS[row])
            columns["history"].append(had[::-1])
            columns["timestamp"].append(len(columns["timestamp"]))
            had.append(ITEMS[row])
    return {**columns, "weight": [1.0] * 1500, "#place": [0] * 1500}


def write(columns: Mapping[str, pa.Array], folder: Path, split: str) -> str:
    shard = SHARD_NAME.format(index=0, count=1)
    write_shard(str(folder / f"Split-{split}" / shard), serialize(columns), str(folder / "temporary"))
    return str(folder)


def rows(columns: Mapping[str, pa.Array]) -> list[dict[str, Any]]:
    """What Transform reads."""
    lists = {name: value.to_pylist() for name, value in columns.items()}
    each = [dict(zip(lists, values)) for values in zip(*lists.values())]
    return [{name: value if isinstance(value, list) else [value] for name, value in row.items()} for row in each]


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What CatalogueGen, Transform, Trainer and Indexer make of the events, and of a table of nothing but vectors."""
    from pipeline.model.preprocessing import preprocess_catalogue, preprocess_interactions
    from pipeline.model.settings import TrainerSettings
    from pipeline.model.trainer import run_fn
    from tests.pipeline.model import small_log

    folder = tmp_path_factory.mktemp("vectors")
    look = pa.FixedSizeListArray.from_arrays(pa.array(given_vectors().reshape(-1), pa.float32()), 8)
    pq.write_table(pa.table({"item_id": ITEMS, "look": look}), folder / "items.parquet")
    content = {"interactions": {"path": "-"}, "catalogue": {"path": str(folder / "items.parquet")}}
    content["catalogue"]["features"] = {"look": {"type": "vector"}}
    config = Config.model_validate({"name": "shop", "data": content})
    settings = with_vectors(config, data_paths(config)).data.catalogue.settings()
    _, files = executor.inspect(settings.model_dump_json(), str(folder / "items.parquet"))
    table, report = executor.read(files, settings)
    assert not report.rejected
    items = catalogue.encoded(catalogue.extended(table, []), {})
    events = {name: pa.array(values) for name, values in some_events().items()}
    catalogue_uri, log = write(items, folder / "catalogue", "catalogue"), write(events, folder / "log", "train")

    sizes = {"categories": 9, "text_tokens": 9}
    event_config = {"features": {}, "time_features": [], "user_id": False, **sizes}
    of_events = functools.partial(preprocess_interactions, custom_config=event_config)
    kinds = {name: feature.kind for name, feature in settings.features.items()}
    of_items = functools.partial(preprocess_catalogue, custom_config={"features": kinds, **sizes})
    event_spec = {name: kind for name, kind in small_log.EVENT_SPEC.items() if name in events}
    item_spec = {"item_id": small_log.STRING, "look": tf.io.FixedLenFeature([8], tf.float32)}
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        small_log.transform(pipeline, rows(events), event_spec, of_events, folder / "events", "train")
        known = {name: items[name] for name in item_spec}
        small_log.transform(pipeline, rows(known), item_spec, of_items, folder / "items", "catalogue")
    model = {"dim": 16, "item_id": False, "item_bias": False, "linear": {"enabled": False}}
    training = {"epochs": 6, "patience": 6, "batch_size": 64, "learning_rate": 0.05}
    whole = {"seed": 1, "features": kinds, "query_features": {}, "user_features": (), "max_history": 5}
    whole |= {"hold_out": "latest", "model": model, "training": training}
    run_fn(
        SimpleNamespace(
            custom_config=TrainerSettings.model_validate(whole).model_dump(mode="json"),
            transform_graph_path=str(folder / "events" / "graph"),
            examples=str(folder / "events" / "examples"),
            catalogue=str(folder / "items" / "examples"),
            catalogue_graph=str(folder / "items" / "graph"),
            model_run_dir=str(folder / "run"),
            serving_model_dir=str(folder / "model"),
            judged="",
            before="",
        )
    )
    how, towers = IndexerSettings(), str(folder / "model")
    index = build_index(towers, catalogue_uri, log, how.stored_history, how.similar)
    return in_memory(towers, index, how)


def group_of(items: Any) -> np.ndarray:
    return np.array([ITEMS.index(item.decode()) % GROUPS for item in np.ravel(items) if item])


@pytest.mark.slow
@pytest.mark.smoke
def test_items_without_an_event_are_recommended_by_their_vectors(servable: Any) -> None:
    histories = [[ITEMS[group + GROUPS * place] for place in (1, 5, 9)] for group in range(GROUPS)]
    answer = ask(
        servable,
        "recommend",
        user_id=tf.fill([GROUPS], ""),
        history=tf.constant(histories),
        exclude=tf.fill([GROUPS, 0], ""),
        k=tf.constant(len(ITEMS) - 3),
    )
    assert set(answer["source"]) == {b"history"}
    ranks = np.array([[row.tolist().index(item.encode()) for item in NEW] for row in answer["item_ids"]])
    of_their_own, of_others = np.diag(ranks), ranks[~np.eye(GROUPS, dtype=bool)]
    # Seven items of a history's group are left, of 57; by chance a new one would stand at 28.
    assert (of_their_own < 7).mean() >= 5 / 6, ranks
    assert of_their_own.max() < 14
    assert of_others.mean() > 28


@pytest.mark.slow
@pytest.mark.smoke
def test_items_without_an_event_are_similar_to_those_with_like_vectors(servable: Any) -> None:
    def similar(items: list[str]) -> np.ndarray:
        none = tf.fill([len(items), 0], "")
        return ask(servable, "similar_items", item_id=tf.constant(items), exclude=none, k=tf.constant(9))["item_ids"]

    # Nine items are of the same group; by chance they would be a sixth of the answer.
    assert (group_of(similar(NEW)).reshape(GROUPS, 9) == np.arange(GROUPS)[:, np.newaxis]).mean() > 0.95
    beside = similar(ITEMS[GROUPS:])
    assert np.mean([NEW[row % GROUPS].encode() in found for row, found in enumerate(beside)]) > 0.9


@pytest.mark.slow
def test_the_score_of_an_item_without_an_event_is_explained(servable: Any) -> None:
    history = tf.constant([[ITEMS[6], ITEMS[12]]])
    found = ask(servable, "explain", user_id=tf.constant([""]), history=history, candidates=tf.constant([[NEW[0]]]))
    total = found["contributions"].sum() + found["parts"].sum()
    assert found["scores"][0, 0] == pytest.approx(total, rel=1e-4)
    assert (found["contributions"] > 0).all()
