"""A Transform's graph gets to know more, and what it knew stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_transform as tft

from components.examples.reading import decode, ragged, read_columns, scalars, split_files
from components.transform import growing
from pipeline.model.preprocessing import FIRST, ITEM_COUNTS, ITEM_VOCABULARY, USER_VOCABULARY
from tests.components.transform.conftest import GROWING, write_later
from tests.pipeline.model.small_log import HOUR, ITEMS

pytestmark = pytest.mark.slow


def test_values_are_counted(tmp_path: Path) -> None:
    write_later(tmp_path)
    found = growing.count_values(str(tmp_path), "eval", ["item_id", "user_id"])
    items = {b"a": 3, b"b": 3, b"c": 1, ITEMS[0].encode(): 1}
    assert found == {"item_id": Counter(items), "user_id": Counter({b"user 0": 7, b"new": 1})}


@pytest.mark.smoke
def test_what_is_new_comes_last_and_is_known(transformed: Any, tmp_path: Path) -> None:
    before = tft.TFTransformOutput(transformed.transform_graph)
    known, users = before.vocabulary_by_name(ITEM_VOCABULARY), before.vocabulary_by_name(USER_VOCABULARY)
    write_later(tmp_path / "events")
    values = growing.count_values(str(tmp_path / "events"), "eval", ["item_id", "user_id"])
    growing.grow(transformed.transform_graph, GROWING.vocabularies, values, str(tmp_path / "graph"))
    graph = tft.TFTransformOutput(str(tmp_path / "graph"))
    assert graph.vocabulary_by_name(ITEM_VOCABULARY) == [*known, b"b", b"a", b"c"]
    assert graph.vocabulary_size_by_name(ITEM_VOCABULARY) == len(known) + 3
    assert graph.vocabulary_by_name(USER_VOCABULARY) == [*users, b"new"]
    counts = dict(reversed(line.split(b" ", 1)) for line in graph.vocabulary_by_name(ITEM_COUNTS))
    assert [int(counts[item]) for item in [ITEMS[0].encode(), ITEMS[1].encode(), b"a", b"c"]] == [49, 40, 3, 1]
    assert before.vocabulary_by_name(ITEM_VOCABULARY) == known  # a copy was changed

    index = {item: FIRST + place for place, item in enumerate([*known, b"b", b"a", b"c"])}
    records = list(growing.transformed(split_files(str(tmp_path / "events"), "eval"), graph))
    types = {"item": int, "history": int, "user": int, "weight": float, "timestamp": int, "query_age": float}
    table = decode(records, types)
    expected = [index[item] for item in (b"a", b"b", b"a", b"b", b"b", b"a", b"c", ITEMS[0].encode())]
    assert scalars(table, "item").tolist() == expected
    assert ragged(table, "history")[0].tolist() == [
        *(index[item] for item in (ITEMS[0].encode(), b"a", b"c", b"a", ITEMS[0].encode()))
    ]
    assert scalars(table, "user")[5] == FIRST + len(users)
    assert set(scalars(table, "weight").tolist()) == {3.0}
    assert set(scalars(table, "timestamp").tolist()) == {1000 * HOUR}
    # Scales are those of before: of 247 ages that are 0 or 1 all but half a deviation.
    [age] = set(scalars(table, "query_age").tolist())
    ages = np.array([place % 2 for place in range(248)][1:])
    assert age == pytest.approx((1 - ages.mean()) / ages.std(), rel=1e-5)


def test_whole_users_are_drawn_others_each_night(transformed: Any) -> None:
    files = split_files(transformed.examples, "train")

    graph = tft.TFTransformOutput(transformed.transform_graph)

    def users(share: float, night: int, since: int = 0) -> Counter[int]:
        records = list(growing.drawn(files, graph, GROWING, share, night, since))
        return Counter(scalars(decode(records, {"user_hash": int}), "user_hash").tolist()) if records else Counter()

    whole = Counter(scalars(read_columns(transformed.examples, "train", {"user_hash": int}), "user_hash").tolist())
    assert users(2.0, 1) == whole
    assert users(0.0, 1) == Counter()
    assert sum(users(1.0, 1, since=240 * HOUR).values()) == 8  # the last of 248 events, one an hour
    nights = [users(0.5, night) for night in range(20)]
    assert all(count == whole[user] for night in nights for user, count in night.items())
    assert len({frozenset(night) for night in nights}) > 10
    assert 2 < np.mean([len(night) for night in nights]) < 5  # of seven
    assert nights[3] == users(0.5, 3)
    assert growing.times(files[0], GROWING).max() == 247 * HOUR
