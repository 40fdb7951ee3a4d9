"""The figures of a log: what is estimated, and what is written is read."""

from __future__ import annotations

import numpy as np
import pytest

from components import log_profile
from components.hashing import hashes
from components.log_profile import LogProfile

PROFILE = LogProfile(7, 3, 2, ("ann", 4), ("🎬", 5), 10, 20, {0: 3, 1: 4}, {2**64 - 1: 5, 3: 2})


def test_what_is_written_is_read() -> None:
    assert log_profile.from_json(log_profile.to_json(PROFILE)) == PROFILE
    assert '"ann"' not in log_profile.to_json(PROFILE.without_ids())


@pytest.mark.parametrize("items", [3, log_profile.LEAST - 1, 40_000])
def test_items_are_counted_or_estimated(items: int) -> None:
    of_items = {int(item): 1 for item in hashes(str(number).encode() for number in range(items))}
    found = log_profile.distinct(log_profile.least(of_items))
    # The estimate's standard error is 1 / sqrt(4096) = 1.6 %.
    assert found == items if items < log_profile.LEAST else found == pytest.approx(items, rel=0.05)


def test_the_least_of_parts_are_the_least_of_all() -> None:
    draw = np.random.default_rng(5)
    parts = [dict(zip(draw.integers(0, 9_000, 6_000).tolist(), draw.integers(1, 9, 6_000).tolist())) for _ in range(3)]
    together: dict[int, int] = {}
    for part in parts:
        for item, events in part.items():
            together[item] = together.get(item, 0) + events
    merged = log_profile.least({})
    for part in parts:
        merged.update(log_profile.least(part))
    assert log_profile.least(merged) == log_profile.least(together)
