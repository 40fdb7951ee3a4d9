"""How like the judged model the shipped one is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from components.errors import InputError
from components.servable_validator import likeness
from components.servable_validator.likeness import Likeness, compare, drift, overlap, read_histories
from components.servable_validator.settings import ServableValidatorSettings
from tests.components.servable_validator.interactions import event, write_examples
from tests.serving import tiny_servable

SETTINGS = ServableValidatorSettings()
NONE = np.zeros((0, 0), object)


def test_what_is_in_common_beyond_chance() -> None:
    ids = np.array([[b"a", b"b"], [b"c", b""]], object)
    assert overlap(ids, ids, 10) == 1
    # Of three answers one is there; chance alone gives 1.5 of 10.
    other = np.array([[b"b", b"x"], [b"y", b""]], object)
    assert overlap(ids, other, 10) == pytest.approx((1 / 3 - 0.15) / (1 - 0.15))
    assert overlap(ids, np.array([[b"x", b"y"], [b"z", b""]], object), 10) == pytest.approx(-0.15 / 0.85)
    assert overlap(ids, ids, 1) == 1, "where there is but one item any answer is the right one"
    assert overlap(NONE, NONE, 10) == 1


def test_how_far_scores_lie_apart() -> None:
    # What each query's scores are as a whole, and what one model lacks, counts for nothing.
    scores = np.array([[101.0, 103.0, np.nan], [7.0, 1.0, 4.0]])
    reference = np.array([[1.0, 2.0, np.nan], [3.0, 0.0, 1.5]])
    assert drift(scores, reference) == pytest.approx(2)
    still = np.zeros((1, 2))
    assert (drift(still, still), drift(reference, still)) == (1, float("inf"))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Likeness(9, 0.5, 1.2, 0, 0), []),
        (Likeness(9, 0.1, 5.0, 0, 0), []),
        (Likeness(9, 0.5, 1.0, 2, 0), ["the shipped model has an item twice in 2 of 9 answers"]),
        (Likeness(9, 0.5, 1.0, 0, 3), ["the shipped model has scores that are no numbers in 3 of 9 answers"]),
        (Likeness(9, 0.09, 1.0, 0, 0), ["0.09 of the items are the same, beyond chance, less than the 0.1 of"]),
        (Likeness(9, 0.5, 5.1, 0, 0), ["lie 5.1 times as far apart as the judged one's; validation.max_score_drift"]),
        (Likeness(9, 0.5, 0.19, 0, 0), ["lie 0.19 times as far apart"]),
        (Likeness(9, 0.5, float("nan"), 0, 0), ["lie nan times as far apart"]),
    ],
)
def test_what_is_refused(found: Likeness, said: list[str]) -> None:
    failures = list(found.failures(SETTINGS))
    assert len(failures) == len(said)
    assert all(text in failure for text, failure in zip(said, failures))


def test_the_histories_are_those_of_the_evaluation(tmp_path: Path) -> None:
    write_examples(tmp_path, "eval", [event("u", "1", 1), event("u", "2", 2, "1"), event("u", "3", 3, "2", "1")])
    assert read_histories(str(tmp_path)).tolist() == [[b"1", b""], [b"2", b"1"]]
    write_examples(tmp_path / "without", "eval", [event("u", "1", 1)])
    assert read_histories(str(tmp_path / "without")).shape == (1, 0)


def test_wrong_answers_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def model(ids: list[list[str]], scores: list[list[float]]) -> SimpleNamespace:
        answer = {"item_ids": tf.constant(ids), "scores": tf.constant(scores)}
        return SimpleNamespace(
            signatures={
                "recommend": lambda **_: answer,
                "score": lambda candidates, **_: {"scores": tf.zeros(candidates.shape) + tf.range(4.0)},
            }
        )

    models = {
        "shipped": model([["a", "a"], ["b", "c"], ["", ""]], [[2.0, 1.0], [2.0, float("inf")], [0.0, 0.0]]),
        "judged": model([["a", "b"], ["b", "c"], ["", ""]], [[2.0, 1.0]] * 3),
    }
    monkeypatch.setattr(likeness, "_load", models.get)
    write_examples(tmp_path, "eval", [event("u", "3", 9, "1"), event("u", "4", 10, "1"), event("u", "4", 11, "2")])
    found = compare("shipped", "judged", str(tmp_path))
    assert (found.queries, found.twice, found.no_numbers) == (3, 1, 1)
    assert (found.overlap, found.drift) == (0.75, 1.0)


@pytest.mark.slow
@pytest.mark.smoke
def test_models_are_asked_the_same(tmp_path: Path) -> None:
    judged = tiny_servable.build(str(tmp_path / "judged"))
    write_examples(tmp_path, "eval", [event("u", "3", 9, "1"), event("u", "4", 10, "🎬", "1")])
    same = compare(judged, judged, str(tmp_path))
    assert same == Likeness(2, 1.0, 1.0, 0, 0)
    with pytest.raises(InputError, match="nowhere: can't be loaded to be compared"):
        compare(str(tmp_path / "nowhere"), judged, str(tmp_path))
