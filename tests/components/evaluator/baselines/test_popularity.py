"""Popularity and recent popularity against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.evaluator import baselines
from components.evaluator.baselines import BaselineSettings
from components.evaluator.baselines.reading import read_training_events
from tests.components.evaluator.arrays import ragged
from tests.components.evaluator.baselines.toy import (
    DAY,
    TOY,
    A,
    C,
    fit,
    write_log,
)


def test_popularity() -> None:
    scores = fit("popularity", TOY).scores(ragged([], [C]))
    assert scores.tolist() == [[3, 2, 2, 1]] * 2


@pytest.mark.slow
@pytest.mark.smoke
def test_recent_popularity(tmp_path: Path) -> None:
    rows = [("u", "a", 0), ("v", "a", 0), ("u", "b", 2 * DAY), ("u", "c", 4 * DAY)]
    settings = BaselineSettings(names=("recent_popularity",), recent_half_life_days=2)
    for name, order in (("old first", rows), ("new first", rows[::-1])):
        events = read_training_events(write_log(tmp_path / name, order, shards=4), settings)
        scores = baselines.fit(settings, events)["recent_popularity"].scores(ragged([A]))
        assert events.item_ids.tolist() == [b"a", b"b", b"c"]
        np.testing.assert_allclose(scores, [[1 / 4 + 1 / 4, 1 / 2, 1]], rtol=1e-6)


def test_recent_popularity_without_times_is_popularity(tmp_path: Path) -> None:
    rows = [(user, item, row) for row, (user, item) in enumerate([("u", "a"), ("v", "b"), ("u", "b")])]
    events = read_training_events(write_log(tmp_path, rows), BaselineSettings())
    scores = fit("recent_popularity", events).scores(ragged([]))
    np.testing.assert_allclose(scores, [[2, 1]], rtol=1e-5)
