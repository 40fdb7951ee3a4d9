"""How much places are looked at, by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.examination import CLICKS, GIVEN, PLACES, SHUFFLED, Examination
from pipeline.feedback.outcomes import outcomes
from tests.pipeline.feedback.test_outcomes import HOUR, RULES, part


def examined(lists, clicks, settings=RULES, replicates=0):
    """Of (user, items, order) with at most the first two shuffled, and (user, item)."""
    whole = part(
        [("client", user, user, 1, items) for user, items, _ in lists], [(user, item, 1, 0) for user, item in clicks]
    )
    rows = [
        {**row, "explored": 0.5, "first": 2, "order": order}
        for row, (_, _, order) in zip(whole.lists.to_pylist(), lists)
    ]
    whole = type(whole)(whole.lists.from_pylist(rows, whole.lists.schema), whole.events, whole.users)
    found = Examination(settings, replicates)
    found.add(outcomes(whole, RULES, 999 * HOUR, Counter()))
    return found


def test_clicks_of_shuffled_lists_tell_and_beyond_them_those_of_all() -> None:
    lists = [("u1", ["a", "b", "c"], [0, 1, 2]), ("u2", ["b", "a", "c"], [1, 0, 2]), ("u3", ["a", "b", "c"], None)]
    found = examined(lists, [("u1", "a"), ("u2", "b"), ("u2", "a"), ("u3", "b"), ("u3", "c")])
    # Of two shuffled lists the first place was clicked in both, the second in one; of all three lists the second in two
    # and the third in one.
    assert found.source == SHUFFLED
    assert found.likely()[0, :4] == pytest.approx([1, 1 / 2, 1 / 2 * (1 / 3) / (2 / 3), 0])
    assert found.shares() == [1.0, 0.5, 0.25]


def test_without_shuffled_lists_clicks_of_all_and_what_is_known() -> None:
    lists, clicks = [("u1", ["a", "b"], None), ("u2", ["a", "b"], None)], [("u1", "a"), ("u2", "a"), ("u1", "b")]
    found = examined(lists, clicks, replicates=3)
    assert (found.source, found.shares()) == (CLICKS, [1.0, 0.5])
    assert found.likely().shape == (4, PLACES)
    known = examined(lists, clicks, FeedbackSettings(examination=(1, 0.2)))
    assert (known.source, known.shares()) == (GIVEN, [1.0, 0.2])
    assert np.unique(known.likely()[0, 1:]) == [0.2]
    assert Examination(RULES, 0).shares() == [0.0]
