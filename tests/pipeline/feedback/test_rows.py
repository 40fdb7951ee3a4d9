"""Training rows, and that InteractionGen reads them with the log."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.interaction_gen.events import NEGATIVE
from components.interaction_gen.log import inspect
from components.interaction_gen.preview import preview
from pipeline.config import load_config
from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback import rows
from pipeline.feedback.examination import GIVEN, SHUFFLED, Examination
from pipeline.feedback.outcomes import outcomes
from pipeline.feedback.run import ROWS, feedback
from pipeline.model.fit import train
from pipeline.model.inputs import TrainingData
from pipeline.model.preprocessing import FIRST
from pipeline.model.reading import Log
from pipeline.model.settings import ModelSettings, TrainingSettings
from tests.pipeline.feedback.shop import answer, write_answers, write_shop
from tests.pipeline.feedback.test_outcomes import HOUR, RULES, part
from tests.pipeline.model.tiny_data import followers, some_events


@pytest.mark.slow
def test_interaction_gen_reads_them_in_front_of_the_log(tmp_path: Path) -> None:
    config = write_shop(tmp_path)
    feedback(config, [str(tmp_path / "answers")], tmp_path / "out")
    (tmp_path / "log").mkdir()
    shutil.copy(tmp_path / "out" / ROWS, tmp_path / "log" / "0-training_rows.parquet")
    shutil.copy(tmp_path / "log.csv", tmp_path / "log" / "log.csv")
    found = preview(inspect(config.data.interactions.settings(), str(tmp_path / "log"), "", ""))
    found.check()
    events = {(e["user_id"], e["item_id"], e["timestamp"] // 10**6, e["event"]): e for e in found.events.to_pylist()}
    # Of the eight events of the log three are in both, where the row in front, with its place, stays.
    assert len(events) == len(found.events) == 11
    assert {key for key, event in events.items() if event[NEGATIVE]} == {
        ("ann", "c", 1000, "impression"),
        ("bob", "a", 1000, "impression"),
        ("bob", "c", 1000, "impression"),
        ("bob", "c", 1200, "hate"),
    }
    assert events["bob", "a", 1000, "impression"]["weight"] == pytest.approx(0.1)
    assert events["ann", "b", 1500, "click"]["position"] == 2
    assert events["zoe", "a", 100_000, "click"]["position"] is None


def test_why_a_log_can_have_none(tmp_path: Path) -> None:
    log = write_shop(tmp_path).data.interactions.settings()
    assert rows.why_none(log) == ""
    without = log.columns.model_copy(update={"event": None})
    assert "no types of events" in rows.why_none(log.model_copy(update={"columns": without}))
    rated = log.columns.model_copy(update={"rating": "stars"})
    assert "has ratings" in rows.why_none(log.model_copy(update={"columns": rated}))


@pytest.mark.parametrize(("least", "expected"), [(1, ["b", "b", "c"]), (2, ["b", "b"]), (3, [])])
def test_what_was_shown_so_often_and_never_taken(tmp_path: Path, least: int, expected: list[str]) -> None:
    log = write_shop(tmp_path).data.interactions.settings()
    shown = [("client", "0", "ann", 1, ["a", "b", "c"]), ("client", "1", "ann", 2, ["a", "b"])]
    found = outcomes(part(shown, [("ann", "a", 1, 0)]), RULES, 99 * HOUR, Counter())
    counts: Counter[str] = Counter()
    with rows.Rows(tmp_path / "rows.parquet", log, "s", FeedbackSettings(least_impressions=least)).writing() as written:
        written.add(found, None, counts)
        written.add(found, {}, counts)  # nobody knows whose these are
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert sorted(row["item_id"] for row in table if row["event"] == "impression") == expected
    assert (written.negatives, written.positives) == (len(expected), 1)
    assert counts == {rows.STRANGERS: 5}


def test_weights_undo_places_and_keep_the_logs_own(tmp_path: Path) -> None:
    log = write_shop(tmp_path).data.interactions.settings()
    columns = log.columns.model_copy(update={"weight": "minutes"})
    log = log.model_copy(update={"columns": columns})
    shown = [("client", "0", "ann", 1, ["a", "b", "c", "d"])]
    found = outcomes(part(shown, [("ann", "b", 1, 0), ("ann", "d", 1, 0)]), RULES, 99 * HOUR, Counter())
    own = pa.array([3.0, 1.0])
    at = found.events.schema.get_field_index("weight")
    found = dataclasses.replace(found, events=found.events.set_column(at, "weight", own))

    def weights(log, settings):
        with rows.Rows(tmp_path / "rows.parquet", log, "s", settings).writing() as written:
            written.add(found, None, Counter())
        examination = Examination(settings, 0)
        examination.add(found)
        source = written.weigh(examination)
        table = pq.read_table(tmp_path / "rows.parquet")
        return source, dict(zip(table["item_id"].to_pylist(), table["minutes"].to_pylist()))

    known = FeedbackSettings(examination=(1, 0.5, 0.25, 0.1), clip=8)
    assert weights(log, known) == (GIVEN, {"a": 1, "b": 3 / 0.5, "c": 0.25, "d": 8})
    source, found_in_log = weights(log.model_copy(update={"weight_transform": "log"}), known)
    assert source == GIVEN
    as_counted = {item: math.log1p(weight) for item, weight in found_in_log.items()}
    assert as_counted == pytest.approx({"a": 1, "b": 6, "c": 0.25, "d": 8})
    # By clicks alone nobody knows whether places or items are better.
    assert weights(log, FeedbackSettings()) == ("", {"a": 1, "b": 3, "c": 1, "d": 1})


LIKED = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
LOOKED_AT = (1.0, 0.6, 0.4, 0.3, 0.2, 0.15)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_model_ranks_by_preference_though_places_were_clicked(tmp_path: Path) -> None:
    # What is liked least stands in front, but for one list in five, which is shuffled.
    chance, lines, log = np.random.default_rng(0), [], ["user_id,item_id,timestamp,event,weight,position"]
    for number in range(4000):
        shuffled = chance.random() < 0.2
        order = chance.permutation(6) if shuffled else np.arange(6)[::-1]
        more = {"exploration": {"share": 0.2, "first": 6}, **({"order": (5 - order).tolist()} if shuffled else {})}
        lines.append(answer(f"u{number}", number, [f"item {item}" for item in order], **more))
        for place, item in enumerate(order):
            if chance.random() < LIKED[item] * LOOKED_AT[place]:
                log.append(f"u{number},item {item},{number + 1},click,1,")
    write_answers(tmp_path / "answers.jsonl", lines)
    (tmp_path / "log.csv").write_text("\n".join([*log, "nobody,item 0,999999,click,1,"]) + "\n")
    interactions = {
        "path": str(tmp_path / "log.csv"),
        "columns": {"event": "event", "weight": "weight"},
        "event_weights": {"click": 1, "impression": -0.1},
        "features": {"position": {"type": "category"}},
    }
    (tmp_path / "shop.yaml").write_text(json.dumps({"name": "shop", "data": {"interactions": interactions}}))
    config = load_config(tmp_path / "shop.yaml")
    facts = feedback(config, [str(tmp_path / "answers.jsonl")], tmp_path / "out").facts
    assert facts["rows"]["weighed_by"] == SHUFFLED
    read = preview(inspect(config.data.interactions.settings(), str(tmp_path / "out" / ROWS), "", ""), 1 << 30).events
    item = np.array([int(name[-1]) for name in read["item_id"].to_pylist()])
    weight = read["weight"].to_numpy() * np.where(read[NEGATIVE].to_numpy(), -1, 1)
    clicks = np.bincount(item[weight > 0])
    assert clicks[0] < clicks.max() * 0.9  # so it isn't what a model of clicks would put first
    assert ranking(item, weight, tmp_path) == [0, 1, 2, 3, 4, 5]
    assert ranking(item, np.where(weight > 0, 1, -0.1), tmp_path) != [0, 1, 2, 3, 4, 5]


def ranking(item: np.ndarray, weight: np.ndarray, logs: Path) -> list[int]:
    """How a model of events [N] without histories ranks six items."""
    events = some_events(list(range(len(item))), (FIRST + item).tolist())
    events = dataclasses.replace(events, weight=weight.astype(np.float32))
    vocabulary = dataclasses.replace(followers().vocabulary, counts=np.bincount(item), candidate_features=())
    trained = train(
        TrainingData(Log.of(events), vocabulary, "latest"),
        ModelSettings(dim=4, dropout=0.0, history_dropout=0.0, history="pooling"),
        TrainingSettings(epochs=2, batch_size=256, learning_rate=0.05, refit=False),
        1,
        str(logs),
    )
    embedding, bias = trained.model.vocabulary_embeddings()
    query = trained.model.query_tower({"history": tf.zeros([1, 2], tf.int32)})
    return np.argsort(-(tf.matmul(query, embedding, transpose_b=True) + bias)[0].numpy()).tolist()


def test_features_of_another_type_are_left_out() -> None:
    assert [rows._fitting(value, "number") for value in (3, [1, 2.5], "x", None, [])] == [3.0, 2.5, None, None, None]
    assert [rows._fitting(value, "category") for value in (3, ["a", "b"], None)] == ["3", "b", None]
    assert [rows._fitting(value, "categories") for value in ("a", ["a", 1], None, [])] == [
        ["a"],
        ["a", "1"],
        None,
        None,
    ]
