"""What a servable is asked, and what it answers, depends on nothing that comes after the query."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from components.evaluator.servable import Servable
from components.indexer.index import build_index
from components.indexer.saving import make_servable
from tests.components.indexer.tiny import EMBEDDING, ITEMS, SETTINGS, write_examples, write_towers
from tests.components.interaction_gen.core import TIES, core

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

_K = 4

LOGS = st.lists(
    st.tuples(st.sampled_from("uv"), st.sampled_from(ITEMS), st.integers(0, 6)), min_size=4, max_size=25, unique=True
)
SPLITS = st.sampled_from(
    [{"method": "time"}, {"method": "hash"}, *({"method": "leave_last_n", "n": n} for n in (1, 3))]
)
HISTORIES = st.builds(
    lambda ties, length, seen: {"ties": ties, "max_length": length, "max_seen": seen},
    TIES,
    st.sampled_from([0, 1, 50]),
    st.sampled_from([0, 2, 1000]),
)


def answers(towers: str, train: list[dict[str, Any]], queries: list[dict[str, Any]]) -> list[tuple[list, list]]:
    """Ids and scores that a servable with the training events answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalogue = write_examples(folder / "catalogue", "catalogue", [{"item_id": i, "display": i} for i in ITEMS])
        index = build_index(towers, catalogue, write_examples(folder / "log", "train", train), 100, EMBEDDING)
        (folder / "lists").mkdir()
        servable = make_servable(towers, index, SETTINGS, str(folder / "lists"))
        tf.saved_model.save(servable, str(folder / "model"), {"recommend": servable.recommend})
        (folder / "model" / "assets.extra").mkdir()
        (folder / "model" / "assets.extra" / "recommender.json").write_text(json.dumps({}))
        columns = {
            column: pa.array(
                [
                    [v.encode() for v in ([query[column]] if isinstance(query[column], str) else query[column])]
                    for query in queries
                ],
                pa.large_list(pa.large_binary()),
            )
            for column in ("user_id", "user_type", "history", "seen")
        }
        found = Servable(str(folder / "model"), _K).recommend(pa.table(columns))
    return [(ids.tolist(), scores.tolist()) for ids, scores in zip(found["item_ids"], found["scores"])]


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_towers(tmp_path_factory.mktemp("towers") / "towers", [], [])


# Each example takes seconds, so there is no search for the smallest one.
@settings(deadline=None, max_examples=4, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(st.tuples(LOGS, SPLITS, HISTORIES), min_size=10, max_size=10))
def test_answers_do_not_change_when_all_that_is_later_is_removed(towers: str, worlds: list[tuple]) -> None:
    """Each query is asked twice: as it is, and as a user whose training events end just before it."""
    train, queries, alone = [], [], []
    for number, (log, split, history) in enumerate(worlds):
        found, _, _ = core(log, split={"eval_fraction": 0.3, **split}, history=history)
        place = {row: position for position, row in enumerate(log)}

        def when(user: str, item: str, time: int, place: dict = place, history: dict = history) -> tuple[int, int]:
            return time, place[user, item, time] if history["ties"] == "log_order" else 0

        events = [(e["user_id"], e["item_id"], e["timestamp"]) for e in found["train"]]
        # Of equal times the later row is the newer one.
        events.sort(key=lambda row: place[row])
        train += [{"user_id": f"{number}{u}", "item_id": i, "timestamp": t} for u, i, t in events]
        for query in found["eval"]:
            user, moment = query["user_id"], when(query["user_id"], query["item_id"], query["timestamp"])
            before = [row for row in events if row[0] == user and when(*row) < moment]
            assert query["user_type"] == ("known" if before else "new")
            name = f"{number}{user} before {len(alone)}"
            train += [{"user_id": name, "item_id": i, "timestamp": t} for _, i, t in before]
            queries.append({**query, "user_id": f"{number}{user}"})
            alone.append({**query, "user_id": name})
    if queries:
        found = answers(towers, train, queries + alone)
        assert found[: len(queries)] == found[len(queries) :]


def test_what_was_stored_later_is_neither_used_nor_left_out(towers: str) -> None:
    train = [{"user_id": "u", "item_id": item, "timestamp": time} for time, item in enumerate(ITEMS[:3])]
    query = {"user_id": "u", "history": [ITEMS[0]], "seen": [ITEMS[0]], "user_type": "known"}
    stranger = {"user_id": "", "history": [ITEMS[0]], "seen": [ITEMS[0]], "user_type": "new"}
    first, second = answers(towers, train, [query, stranger])
    assert first == second
    assert {ITEMS[1].encode(), ITEMS[2].encode()} & set(first[0])
    assert np.isfinite(first[1]).all()
