"""The linear part is fitted to events, and counts where it helps the towers on events that neither have seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.examples.interactions import AGAIN
from components.examples.writing import write_columns
from pipeline.model import linear
from pipeline.model.linear import Ease, Pairs, fit_parts, learn, read_pairs, refitted, with_shares
from pipeline.model.preprocessing import FIRST, UNKNOWN
from pipeline.model.reading import Events, Log
from pipeline.model.settings import LinearSettings
from pipeline.model.towers import TwoTowerModel
from tests.components.conftest import write_examples
from tests.pipeline.model.test_validation import model_of_biases
from tests.pipeline.model.tiny_data import some_events

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

SETTINGS = LinearSettings()
EASE = Ease(100.0, 0.75)
ITEMS = 40


def test_the_parts_are_the_closed_forms() -> None:
    # User 0 had items 0 and 1, user 1 had item 0 alone: G + 100 is [[102, 1], [1, 101]].
    pairs = Pairs(np.array([0, 1, 0]), np.array([0, 0, 1]))
    together, following, coming = fit_parts(pairs, 3, 4, EASE, SETTINGS)
    expected = np.array([[0, 1 / 102, 0], [1 / 101, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(together.weights.toarray(), expected, rtol=1e-5)
    np.testing.assert_allclose(together.places, np.arange(1, 5) ** -0.75, rtol=1e-6)
    assert following.weights.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(following.places, 0.5 ** (np.arange(4) / 4), rtol=1e-6)
    # One event had item 0 before it, and was of item 1.
    np.testing.assert_allclose(coming.weights.toarray(), [[0, 1 / 301, 0], [0, 0, 0], [0, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(coming.places, 0.5 ** (np.arange(4) / 16), rtol=1e-6)


def test_only_popular_items_take_part_in_what_is_solved_for() -> None:
    pairs = Pairs(np.array([0, 0, 0]), np.array([0, 1, 2]))
    together, following, coming = fit_parts(pairs, 3, 2, EASE, LinearSettings(max_items=2))
    assert together.weights.shape == coming.weights.shape == (3, 3)
    assert np.argwhere(together.weights.toarray()).tolist() == [[0, 1], [1, 0]]
    assert np.argwhere(coming.weights.toarray()).tolist() == [[0, 1]]
    assert following.weights.nnz == 3


def test_of_very_many_items_each_keeps_fewer_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs(np.array([0, 0, 0]), np.array([0, 1, 2]))
    monkeypatch.setattr(linear, "_WEIGHTS", 3)
    # After item 0 comes 1, and 2 a step later, which counts half.
    assert np.argwhere(fit_parts(pairs, 3, 2, EASE, SETTINGS)[1].weights.toarray()).tolist() == [[0, 1], [1, 2]]


def test_of_a_long_log_whole_parts_are_read() -> None:
    parts = [some_events([7, 7, 5], [2, 3, 4]), some_events([-1, -1], [5, 6]), some_events([9], [7])]
    log = Log([lambda part=part: part for part in parts], 6, parts[0].take(slice(1)))  # type: ignore[misc]
    user, item = read_pairs(log, 5)
    assert item.tolist() == [0, 1, 2, 3, 4]
    assert user.tolist() == [2, 2, 1, 0, 0]
    assert read_pairs(log, 1).item.tolist() == [0, 1, 2]  # one at least
    assert len(read_pairs(log, 6).item) == 6


def asked(seed: int, follows: bool) -> tuple[Pairs, Events]:
    """Events of 60 users, and as many queries, in which each item is followed by the next one, or by any."""
    chance = np.random.default_rng(seed)
    start = chance.integers(0, ITEMS, 60)
    steps = (start[:, np.newaxis] + np.arange(5)) % ITEMS if follows else chance.integers(0, ITEMS, (60, 5))
    pairs = Pairs(np.repeat(np.arange(60), 3), steps[:, :3].ravel())
    newest = FIRST + steps[:, 3]
    return pairs, some_events(
        [*range(60)], (FIRST + steps[:, 4]).tolist(), np.stack([newest, newest - newest], 1).tolist()
    )


def blind() -> TwoTowerModel:
    """Towers that say of an item only how popular it is, which is of no use here."""
    return model_of_biases(np.linspace(1, 0, ITEMS).tolist())


def test_it_counts_where_the_towers_lack_what_it_has() -> None:
    found = learn(blind(), *asked(1, follows=True), SETTINGS)
    assert {part.name for part in found.parts} & {"sequential", "slit"}
    assert found.metrics["towers"]["ndcg@10"] < 0.3 < 0.8 < found.metrics["together"]["ndcg@10"]
    # In the unit of the towers' scores: as the share is, so the votes deviate.
    unit = np.linspace(1, 0, ITEMS).std()
    history = np.stack([np.arange(ITEMS), np.full(ITEMS, -1)], axis=1)
    for part in found.parts:
        share = part.votes(history).std(axis=1).mean() / unit
        steps = [np.log(share / first) / np.log(linear._NEAR) for first in linear._SHARES]
        assert min(abs(step - round(step)) for step in steps) < 0.2


def test_it_is_left_out_where_it_does_not_help() -> None:
    pairs, queries = asked(2, follows=False)
    found = learn(blind(), pairs, queries, SETTINGS)
    assert found.parts == ()
    assert found.metrics["towers"] == found.metrics["together"]
    assert refitted(found, pairs, ITEMS, 2, SETTINGS) == found


def test_the_same_shares_count_for_other_events() -> None:
    found = learn(blind(), *asked(1, follows=True), SETTINGS)
    more = asked(3, follows=True)[0]
    again = refitted(found, more, ITEMS, 2, SETTINGS)
    assert [(part.name, part.share) for part in again.parts] == [(part.name, part.share) for part in found.parts]
    fitted = {part.name: part for part in fit_parts(more, ITEMS, 2, found.ease, SETTINGS)}
    assert all((part.weights != fitted[part.name].weights).nnz == 0 for part in again.parts)
    assert again.metrics == found.metrics
    shares = {part.name: part.share for part in found.parts}
    alike = with_shares(shares, more, ITEMS, 2, found.ease, SETTINGS)
    assert [(part.name, part.share) for part in alike] == list(shares.items())


def test_what_is_best_for_ease_is_found_among_popular_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_TRIED_ON", 5)
    pairs, queries = asked(1, follows=True)
    found = linear._best_ease(pairs, queries, ITEMS, SETTINGS)
    assert found.l2 in linear._L2
    assert found.exponent in linear._EXPONENTS
    rare = queries.take(queries.item - FIRST >= 5)
    assert linear._best_ease(pairs, rare, ITEMS, SETTINGS) == Ease(linear._L2[0], linear._EXPONENTS[0])


def test_where_places_mean_nothing_they_do_not_count() -> None:
    # Twenty users had the items of each of ten pairs and fifteen those of each of ten others, so of two items of
    # a history, one of either kind, the older goes with what comes, but not so much more that its place is made up for.
    pair = np.repeat(np.arange(20), [20] * 10 + [15] * 10)
    pairs = Pairs(np.repeat(np.arange(len(pair)), 2), np.stack([2 * pair, 2 * pair + 1], axis=1).ravel())
    one, other = (part.ravel() for part in np.meshgrid(np.arange(10), np.arange(10, 20)))
    queries = some_events(
        [*range(100)], (FIRST + 2 * one + 1).tolist(), (FIRST + np.stack([2 * other, 2 * one], axis=1)).tolist()
    )
    assert linear._best_ease(pairs, queries, ITEMS, SETTINGS).exponent == 0


def test_pairs_of_before_and_of_now_are_in_the_order_of_time(tmp_path: Path) -> None:
    def row(user: int, item: int, time: int) -> dict[str, int]:
        return {"user_hash": user, "item": item, "timestamp": time, "place": 0}

    past = [row(9, FIRST, 1), row(7, FIRST + 1, 2), row(9, UNKNOWN, 3), row(9, FIRST + 2, 5)]
    path = str(tmp_path / "Split-past" / "data.parquet")
    write_columns(path, [pa.Table.from_pylist(past)], str(tmp_path / "temporary"))
    write_examples(tmp_path, "train", [row(9, FIRST + 3, 4), row(8, FIRST, 6)])
    (again,) = (tmp_path / "Split-train").iterdir()
    shutil.copy(again, again.with_name(f"{AGAIN}{again.name}"))  # events of before, which are there already
    found = linear.read_all_pairs(str(tmp_path), 100)
    assert found.item.tolist() == [0, 1, 3, 2, 0]
    assert found.user.tolist() == [2, 0, 2, 2, 1]
    some = linear.read_all_pairs(str(tmp_path), 2)
    assert len(some.user) < 5
    assert set(np.bincount(some.user)) <= {1, 3}, "whole users"
