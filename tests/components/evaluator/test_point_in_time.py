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
from components.indexer.settings import Exclude
from components.interaction_gen.split import Cut
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


KINDS = {"columns": {"event": "kind"}, "event_weights": {"view": 1, "buy": 2, "skip": -1}, "never_again": ["hide"]}


@pytest.mark.parametrize("exclude", ["all", "nothing", ("buy",)], ids=str)
def test_what_is_judged_at_the_cut_is_what_the_users_are_served(towers: str, exclude: Exclude, tmp_path: Path) -> None:
    """Ten random logs with what was bought, skipped and never wanted again, some of it taken back; each user's first
    query, of which nothing lies between the training and it, is asked as the Evaluator asks it and by the id alone."""
    rng = np.random.default_rng(7)
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "negative": [], "eval": []}
    for number in range(10):
        # A known user has an event that is not negative before the cut at 14.
        rows = [(f"{number}{user}", ITEMS[0], time, "view") for time, user in enumerate("uv")]
        rows += [
            (f"{number}{rng.choice(['u', 'v'])}", str(rng.choice(ITEMS)), time, str(kind))
            for time, kind in enumerate(rng.choice(["view", "buy", "skip", "hide"], 24, p=[0.5, 0.2, 0.2, 0.1]), 2)
        ]
        found, _, _ = core(rows, Cut(14), excluded_types=exclude if isinstance(exclude, tuple) else (), **KINDS)
        for split, examples in found.items():
            splits.setdefault(split, []).extend(examples)
    names = ("user_id", "item_id", "timestamp", "event", "#for_good")
    for split in ("train", "negative"):
        rows = [{name: example[name] for name in names if name in example} for example in splits[split]]
        log = write_examples(tmp_path / "log", split, rows)
    catalogue = write_examples(tmp_path / "catalogue", "catalogue", [{"item_id": i, "display": i} for i in ITEMS])
    index = build_index(towers, catalogue, log, 100, EMBEDDING, exclude=exclude)
    (tmp_path / "lists").mkdir()
    settings = SETTINGS.model_copy(update={"exclude": exclude})
    model = make_servable(towers, index, settings, str(tmp_path / "lists"))
    tf.saved_model.save(model, str(tmp_path / "model"), {"recommend": model.recommend})
    (tmp_path / "model" / "assets.extra").mkdir()
    (tmp_path / "model" / "assets.extra" / "recommender.json").write_text(json.dumps({"exclude": exclude}))
    first: dict[str, dict[str, Any]] = {}
    for query in sorted(splits["eval"], key=lambda query: query["timestamp"]):
        first.setdefault(query["user_id"], query)
    # What is rejected after the cut and before the query is known to the query alone.
    trained = {user: {item for u, item in _rejected(splits) if u == user} for user in first}
    queries = [query for user, query in first.items() if {*query["#rejected"]} == trained[user]]
    assert len(queries) >= 10
    assert any(trained.values())
    features = ("user_id", "user_type", "history", "seen", *(f for f in ("#excluded", "#rejected") if f in queries[0]))
    kind = pa.large_list(pa.large_binary())
    batch = pa.table(
        {
            name: pa.array(
                [[v.encode() for v in ([q[name]] if isinstance(q[name], str) else q[name])] for q in queries], kind
            )
            for name in features
        }
    )
    judged = Servable(str(tmp_path / "model"), len(ITEMS)).answer(batch)
    served = (
        tf.saved_model.load(str(tmp_path / "model"))
        .signatures["recommend"](
            user_id=tf.constant([query["user_id"] for query in queries]),
            history=tf.zeros([len(queries), 0], tf.string),
            exclude=tf.zeros([len(queries), 0], tf.string),
            k=tf.constant(len(ITEMS)),
        )["item_ids"]
        .numpy()
    )
    # Not their order: a stored history has each item once.
    assert [{*row} for row in judged.tolist()] == [{*row} for row in served.tolist()]
    left = {"all": "seen", "nothing": None}.get(exclude if isinstance(exclude, str) else "", "#excluded")
    for query, row in zip(queries, judged):
        answer = {item.decode() for item in row} - {""}
        assert answer == {*ITEMS} - {*query["#rejected"], *(query[left] if left else ())}


def _rejected(splits: dict[str, list[dict[str, Any]]]) -> set[tuple[str, str]]:
    """Users and items that they have rejected by the end of training, by the plain loop."""
    found: set[tuple[str, str]] = set()
    final: set[tuple[str, str]] = set()
    events = [(e["timestamp"], e["user_id"], e["item_id"], e["weight"], None) for e in splits["train"]]
    events += [(e["timestamp"], e["user_id"], e["item_id"], 0, e["#for_good"]) for e in splits["negative"]]
    for _, user, item, _, for_good in sorted(events, key=lambda event: event[0]):
        if for_good is None:
            found -= {(user, item)} - final
        else:
            found.add((user, item))
            final |= {(user, item)} if for_good else set()
    return found
