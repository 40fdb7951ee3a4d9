"""Which events are held back, and the ranks that a model gives them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model import validation
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, TwoTowerModel, Vocabulary
from tests.pipeline.model.tiny_data import some_events


@pytest.mark.parametrize(
    ("hold_out", "fraction", "rows"),
    [
        ("latest", 0.3, [7, 8, 9]),
        ("last_of_user", 0.3, [7, 8, 9]),
        ("last_of_user", 0.2, [7, 9]),  # users 1 and 2 come first
        ("latest", 0.01, [9]),
    ],
)
def test_held_out_events(hold_out: str, fraction: float, rows: list[int]) -> None:
    some = some_events([1, 2, 3, 1, 2, 3, 1, 2, 3, 1], [2] * 10)
    settings = TrainingSettings(validation_fraction=fraction)
    assert validation.held_out(some, hold_out, settings).tolist() == rows


def test_any_held_out_events_are_the_same_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    some = some_events(rng.integers(0, 9, 50).tolist(), rng.integers(2, 99, 50).tolist())
    settings = TrainingSettings(validation_fraction=0.2)
    order = rng.permutation(50)
    one = some.take(validation.held_out(some, "any", settings))
    other = some.take(order).take(validation.held_out(some.take(order), "any", settings))
    assert len(one) == 10
    assert set(one.row.tolist()) == set(other.row.tolist())


def test_scores_that_are_no_numbers_are_the_worst_ranks() -> None:
    few = some_events([1, 1, 1], [2, 3, 4])
    vocabulary = Vocabulary(np.array([1, 1, 1]), ItemFeatures({}), (), (), num_users=0, max_history=2)
    model = TwoTowerModel(ModelSettings(dim=2), TrainingSettings(), vocabulary, seed=1)
    model.vocabulary_embeddings()
    model.candidate_tower._bias.assign([0.0, 0.0, np.nan, 2.0, 1.0])
    model.query_tower({"history": few.inputs["history"]})
    model.query_tower._nothing.assign([0.0, 0.0])
    assert validation.exact_ranks(model, few).tolist() == [3, 1, 2]
