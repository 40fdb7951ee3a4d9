"""What the config leaves open is chosen on events that nothing was fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.evaluator import baselines
from components.evaluator.baselines import BaselineSettings, choice
from components.evaluator.baselines.base import Baseline, TrainingEvents
from components.evaluator.baselines.choice import CHOICES, chosen, held_out
from tests.components.evaluator.baselines.toy import fit, log, random_log

LAST = log([("u", "a"), ("v", "b"), ("u", "b"), ("w", "a"), ("u", "a"), ("v", "c"), ("u", "c")])
"""The order of users' items: u a b a c, v b c, w a. By popularity a b c."""


def test_the_last_event_of_users_with_more_than_one_is_held_back() -> None:
    learned, (values, offsets), targets = held_out(LAST, 9)
    assert list(zip(learned.user.tolist(), learned.item.tolist())) == [(0, 0), (1, 1), (0, 1), (2, 0), (0, 0)]
    assert values.tolist() == [0, 1, 1]  # u's a comes first, where it was newest; then v's b
    assert offsets.tolist() == [0, 2, 3]
    assert targets.tolist() == [2, 2]
    assert len(held_out(LAST, 1)[2]) == 1


def test_of_a_long_log_some_users_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_EVENTS", 100)
    events = random_log()
    learned, (_, offsets), targets = held_out(events, 500)
    users = np.unique(learned.user)
    assert 5 < len(users) < events.num_users
    assert len(learned.user) + len(targets) <= 100
    assert len(targets) == len(offsets) - 1
    whole = np.bincount(events.user)
    assert (np.bincount(learned.user)[users] >= whole[users] - 1).all(), "users are there with all events but one"


def test_the_value_of_the_highest_gain_is_taken_and_what_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def note(name: str, settings: BaselineSettings, events: TrainingEvents) -> Baseline:
        tried.append((name, settings.ease_l2))
        return fit(name, LAST, ease_l2=settings.ease_l2, ease_exponent=0, sequential_knn_half_life=1, blend_share=0)

    weights = {l2: fit("ease", LAST, ease_l2=l2, ease_exponent=0).weights for l2 in _values("ease_l2")}

    def gains(model: Any, *_: Any) -> np.ndarray:
        """100 is the best l2, and 0.2 the best share."""
        best = getattr(model, "share", np.float32(0.2)) == np.float32(0.2)
        return np.full(3, float(best and hasattr(model, "weights") and (model.weights == weights[100]).all()))

    monkeypatch.setattr(choice, "_gains", gains)
    found = chosen(BaselineSettings(names=("ease", "markov"), ease_exponent=0.3), LAST, note)
    assert (found.ease_l2, found.ease_exponent) == (100, 0.3)
    assert found.ease_max_items == BaselineSettings().ease_max_items
    assert tried == [("ease", l2) for l2 in _values("ease_l2")]
    assert found.sequential_knn_half_life == _values("sequential_knn_half_life")[0], "not wanted"

    tried.clear()
    found = chosen(BaselineSettings(names=("blend",)), LAST, note)
    assert (found.ease_l2, found.blend_share) == (100, pytest.approx(0.2))
    assert [name for name, _ in tried] == ["ease"] * 3 + ["sequential_knn", "blend"], (
        "what only a query goes by is not fitted anew"
    )


def _values(parameter: str) -> tuple[float, ...]:
    return next(each.values for of in CHOICES.values() for each in of if each.parameter == parameter)


def test_gain_is_the_ndcg_of_what_follows_among_what_was_not_had() -> None:
    _, histories, targets = held_out(LAST, 9)
    # By popularity a, b, c: u, who had a and b, finds c first; v, who had b, finds it second.
    found = choice._gains(fit("popularity", LAST), histories, targets)
    np.testing.assert_allclose(found, [1, 1 / np.log2(3)])
    # Where what they had may come again, c is third for both.
    found = choice._gains(fit("popularity", LAST), histories, targets, without_history=False)
    np.testing.assert_allclose(found, [1 / np.log2(4)] * 2)


def test_a_log_without_a_user_who_came_twice_has_the_first_values() -> None:
    alone = log([("u", "a"), ("v", "b")])
    found = baselines.fit(BaselineSettings(), alone)
    assert found["ease"].exponent == pytest.approx(_values("ease_exponent")[0])
