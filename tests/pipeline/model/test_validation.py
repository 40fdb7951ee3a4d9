"""Which events are held back, and the ranks that a model gives them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipeline.model import validation
from pipeline.model.settings import HoldOut, ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, TwoTowerModel, Vocabulary
from tests.pipeline.model.tiny_data import some_events


def model_of_biases(biases: list[float]) -> TwoTowerModel:
    """Towers whose scores are the items' biases, whatever the history."""
    count = len(biases)
    vocabulary = Vocabulary(np.ones(count), ItemFeatures({}), (), (), num_users=0, max_history=2)
    model = TwoTowerModel(ModelSettings(dim=2), TrainingSettings(), vocabulary, seed=1)
    model.compute_loss(some_events([1], [2]).columns())
    for weight in model.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    model.candidate_tower._bias.assign([0.0, 0.0, *biases])
    return model


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


@pytest.mark.parametrize("hold_out", ["latest", "last_of_user", "any"])
@pytest.mark.parametrize(("count", "kept"), [(1, 1), (2, 1)])
def test_of_few_events_one_is_held_back_and_one_is_left(hold_out: HoldOut, count: int, kept: int) -> None:
    events, queries = validation.split(some_events([1] * count, [2] * count), hold_out, TrainingSettings())
    assert (len(events), len(queries)) == (kept, 1)


@pytest.mark.parametrize(
    ("hold_out", "held", "left"),
    [
        ("latest", [6, 7], [0, 1, 2, 3, 4, 5]),  # not the negative ones that are as late
        ("last_of_user", [5, 7], [0, 1, 2, 3, 4, 6]),  # nor those after their user's last
        ("any", None, None),
    ],
)
def test_no_negative_event_is_held_back_nor_learned_from_later_ones(
    hold_out: HoldOut, held: list[int] | None, left: list[int] | None
) -> None:
    """Ten events of two users, the odd ones' last two and the others' last negative."""
    some = some_events([0, 1, 0, 1, 0, 1, 0, 0, 1, 0], [2] * 10)
    weight = np.array([1, 1, -1, 1, 1, 1, 1, 1, -1, -1], np.float32)
    some = dataclasses.replace(some, weight=weight)
    events, queries = validation.split(some, hold_out, TrainingSettings(validation_fraction=0.25))
    assert (queries.weight > 0).all()
    assert set(events.row) | set(queries.row) | {8, 9} == set(range(10))
    if held is not None:
        assert (queries.row.tolist(), events.row.tolist()) == (held, left)
    else:
        assert {2, 8, 9} <= set(events.row.tolist())


def test_others_see_only_what_is_trained_on() -> None:
    # The user's last two events are held back, each with the other three as its history, newest first.
    some = some_events([1] * 5, [2, 3, 4, 5, 6])
    settings = TrainingSettings(histories="others", validation_fraction=0.4)
    events, queries = validation.split(some, "latest", settings)
    assert events.inputs["history"].tolist() == [[4, 3], [4, 2], [3, 2]]
    assert queries.inputs["history"].tolist() == [[4, 3], [4, 3]]


def test_ranks_are_among_the_items_that_are_not_in_the_history() -> None:
    model = model_of_biases([3.0, 2.0, 2.0, 0.0])
    # Item 2 is the best, 3 and 4 are alike, 5 is the last; the item of the last event was in its history.
    some = some_events([1] * 5, [2, 5, 5, 3, 5], [[0, 0], [0, 0], [2, 3], [2, 0], [5, 2]])
    assert validation.exact_ranks(model, some).tolist() == [0, 3, 1, 0, 2]
    items = model.vocabulary_embeddings()
    batches = list(validation.every_score(model, items, some, batch_size=2))
    assert [(len(batch), len(query), len(scores)) for batch, query, scores in batches] == [(2,) * 3, (2,) * 3, (1,) * 3]
    batch, _, scores = batches[2]
    assert scores.tolist() == [[3.0, 2.0, 2.0, 0.0]]
    assert validation.rows(batch).tolist() == [[3, 0]]
    assert validation.without_history(scores.copy(), batch).tolist() == [[-np.inf, 2.0, 2.0, 0.0]]
    assert validation.without_history(scores.copy(), batch, may_repeat=True).tolist() == [[3.0, 2.0, 2.0, 0.0]]
    model.may_repeat = True  # then what was in a history is in the way of others
    assert validation.exact_ranks(model, some).tolist() == [0, 3, 3, 1, 3]


def test_the_metrics_of_ranks() -> None:
    found = validation.ranking_metrics(np.array([0, 2, 9, 10]))
    assert found == pytest.approx({"hit@10": 3 / 4, "ndcg@10": (1 + 1 / 2 + 1 / np.log2(11)) / 4})


def test_scores_that_are_no_numbers_are_the_worst_ranks() -> None:
    few = some_events([1, 1, 1], [2, 3, 4])
    model = model_of_biases([np.nan, 2.0, 1.0])
    assert validation.exact_ranks(model, few).tolist() == [3, 1, 2]
