"""What the model is asked for a batch of users: no more and no less than for each alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch.answers import Wish
from pipeline.batch.asking import Recommender
from pipeline.batch.queries import SCHEMA
from tests.serving.wire import contract


@pytest.fixture(scope="module")
def asked(contract_servable: Path) -> Recommender:
    return Recommender(contract_servable)


any_item = st.sampled_from([*contract.ITEMS, "no such item"])


any_query = st.tuples(
    st.sampled_from([*contract.USERS, "stranger", ""]), st.lists(any_item, max_size=4), st.lists(any_item, max_size=4)
)


@settings(max_examples=60)
@given(
    queries=st.lists(any_query, min_size=1, max_size=6),
    rules=contract.any_rules(),
    exclude=st.lists(any_item, max_size=3),
    k=st.integers(1, 40),
    size=st.integers(1, 4),
)
def test_batches_are_answered_as_single_requests_are(
    asked: Recommender, queries: list[Any], rules: contract.Rules, exclude: list[str], k: int, size: int
) -> None:
    """Whatever is asked beside, and however the queries are cut into requests."""
    asked.most = size
    wish = Wish(k, tuple(exclude), tuple(rules.allow), tuple(rules.filter), tuple(rules.boosts), rules.diversity)
    table = pa.table([*(list(column) for column in zip(*queries)), [b""] * len(queries)], schema=SCHEMA)
    answers = asked.answer(table, wish)
    assert answers.user_ids.to_pylist() == [user for user, _, _ in queries]
    signature = asked._model.signatures["recommend_with_rules"]
    for row, (user, history, own) in enumerate(queries):
        single = signature(
            user_id=tf.constant([user]),
            history=tf.constant([history], tf.string, [1, len(history)]),
            exclude=tf.constant([[*own, *exclude]], tf.string, [1, len(own) + len(exclude)]),
            context=tf.constant([""]),
            allow=tf.constant([list(rules.allow)], tf.string, [1, len(rules.allow)]),
            filter=tf.constant([list(rules.filter)], tf.string, [1, len(rules.filter)]),
            boost=tf.constant([[condition for condition, _ in rules.boosts]], tf.string, [1, len(rules.boosts)]),
            boost_by=tf.constant([[by for _, by in rules.boosts]], tf.float32, [1, len(rules.boosts)]),
            diversity=tf.constant([rules.diversity]),
            k=tf.constant(k),
        )
        items = [asked.items.ids[place].as_py() if place >= 0 else "" for place in answers.rows[row].tolist()]
        assert items == [item.decode() for item in single["item_ids"].numpy()[0]]
        assert answers.scores[row] == pytest.approx(single["scores"].numpy()[0], rel=1e-5, abs=1e-6)
        assert answers.sources[row].as_py() == single["source"].numpy()[0].decode()
