"""Which events are for evaluation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.interaction_gen.core import LOG, brief, core

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@settings(deadline=None, max_examples=60)
@given(LOG, st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_the_cut_by_time_is_exact_and_keeps_the_files_order_in_ties(rows, fraction):
    found, _, _ = core(rows, deduplicate=False, split={"eval_fraction": fraction})
    by_time = sorted(range(len(rows)), key=lambda k: rows[k][2])
    expected = by_time[len(rows) - round(len(rows) * fraction) :]
    assert sorted(event[:3] for event in brief(found["eval"])) == sorted(rows[k] for k in expected)
    assert len(found["train"]) + len(found["eval"]) == len(rows)


def test_leave_last_n_keeps_short_users_in_training():
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "c", 2), ("v", "a", 1), ("v", "b", 9)]
    found, _, _ = core(rows, split={"method": "leave_last_n", "n": 2})
    assert sorted(event[:2] for event in brief(found["eval"])) == [("u", "b"), ("u", "c")]
    assert sorted(event[:2] for event in brief(found["train"])) == [("u", "a"), ("v", "a"), ("v", "b")]


def test_the_split_by_hash_has_about_its_fraction_and_does_not_depend_on_other_rows():
    rows = [(f"u{k % 50}", f"i{k % 70}", k) for k in range(4000)]
    found, _, _ = core(rows, split={"method": "hash", "eval_fraction": 0.25})
    assert len(found["eval"]) == pytest.approx(1000, abs=3 * (4000 * 0.25 * 0.75) ** 0.5)
    fewer, _, _ = core(rows[:2000], split={"method": "hash", "eval_fraction": 0.25})
    assert {e[:3] for e in brief(fewer["eval"])} == {e[:3] for e in brief(found["eval"]) if e[2] < 2000}
