"""Fitting the ranker: what it learns from, and that it leaves alone what it can't improve."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.model import fit_ranker
from pipeline.model.fit_ranker import Lists, ranks
from pipeline.model.ranker import NUM_FEATURES, Ranker
from pipeline.model.settings import RankingSettings
from pipeline.model.validation import ranking_metrics

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


def lists(count: int, seed: int, hint: float) -> Lists:
    """Lists of ten, whose retrieval scores say nothing and whose last feature is `hint` for the event's item."""
    chance = np.random.default_rng(seed)
    values = chance.normal(size=(count, 10, NUM_FEATURES)).astype(np.float32)
    values[:, :, 0] = np.sort(values[:, :, 0], axis=1)[:, ::-1]
    place = chance.integers(0, 10, count).astype(np.int32)
    values[np.arange(count), place, -1] += hint
    return Lists(values, np.ones((count, 10), bool), place, np.ones(count, np.float32))


def test_ranks_keep_the_order_of_the_retrieval_where_nothing_is_learned() -> None:
    some = lists(3, 0, hint=0)
    some.place[:] = [4, 0, -1]
    # The event's item and the one before it have equal scores; a candidate that isn't there counts for nothing.
    some.features[0, 3, 0] = some.features[0, 4, 0]
    some.present[0, 0] = False
    rank = ranks(some, new_ranker())
    assert rank.tolist()[:2] == [3, 0]
    assert rank[2] > 1_000
    assert ranking_metrics(rank) == pytest.approx({"hit@10": 2 / 3, "ndcg@10": (1 + 1 / np.log2(5)) / 3})


def new_ranker() -> Ranker:
    ranker = Ranker(RankingSettings())
    ranker(tf.zeros([1, 1, NUM_FEATURES]))
    return ranker


@pytest.mark.parametrize("loss", ["softmax", "pointwise"])
def test_it_learns_what_the_retrieval_does_not_know(loss: str) -> None:
    settings = RankingSettings(loss=loss, learning_rate=0.03)
    unseen = lists(200, seed=2, hint=3)
    figures = [
        ranking_metrics(ranks(unseen, ranker))["ndcg@10"]
        for _, _, ranker in fit_ranker._passes(lists(800, seed=1, hint=3), settings, 7, 5)
    ]
    assert len(figures) == 6
    assert figures[0] < 0.6 < 0.8 < figures[-1]


def test_the_same_seed_learns_the_same() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        *_, (_, _, ranker) = fit_ranker._passes(lists(100, seed=1, hint=2), RankingSettings(), seed, 2)
        return ranker.get_weights()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(one, two) for one, two in zip(first, again))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other))


@pytest.mark.parametrize(("hint", "gain"), [(3.0, True), (0.0, False)])
def test_what_does_not_help_is_left_out(monkeypatch: pytest.MonkeyPatch, hint: float, gain: bool) -> None:
    found = lists(600, seed=1, hint=hint)
    if not hint:
        found.place[:] = 0  # the retrieval is right each time
    monkeypatch.setattr(fit_ranker, "retrieve", lambda *_: found)
    settings = RankingSettings(learning_rate=0.03, epochs=3)
    ranker, history = fit_ranker.fit_ranker(None, None, _Any(), settings, seed=1)  # type: ignore[arg-type]
    assert [epoch["epoch"] for epoch in history] == [0, 1, 2, 3]
    assert (history[-1]["ndcg@10"] > history[0]["ndcg@10"]) is gain
    assert bool(np.any(ranker(tf.constant(found.features)).numpy())) is gain


class _Any:
    """Stands for events that `retrieve` doesn't look at."""

    def __len__(self) -> int:
        return 600

    def take(self, rows: np.ndarray) -> _Any:
        return self


def test_lists_without_the_item_teach_nothing() -> None:
    none = lists(20, seed=1, hint=3)
    none.place[:] = -1
    [(epoch, loss, ranker)] = list(fit_ranker._passes(none, RankingSettings(), 1, 3))
    assert (epoch, loss) == (0, 0.0)
    assert not np.any(ranker(tf.constant(none.features)).numpy())
