"""What the report reads out of a run."""

from __future__ import annotations

import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from pipeline.report.findings import activity, flat, settings_of, timeline
from tests.pipeline.report import reports
from tests.pipeline.report.reports import node, run

HOUR, DAY = 3_600 * 10**6, 86_400 * 10**6


def test_events_by_day_begin_with_the_first_and_leave_no_day_out() -> None:
    found = timeline(np.array([0, HOUR, 3 * DAY]), np.array([4 * DAY]))
    assert found is not None
    assert found.period == "day"
    assert found.starts == ("1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04", "1970-01-05")
    assert found.train == (2, 0, 0, 1, 0)
    assert found.evaluation == (0, 0, 0, 0, 1)


def test_weeks_begin_on_mondays() -> None:
    found = timeline(np.array([0, 3 * DAY, 4 * DAY]), np.array([200 * DAY]))  # the epoch was a Thursday
    assert found is not None
    assert found.period == "week"
    assert found.starts[:2] == ("1969-12-29", "1970-01-05")
    assert found.train[:2] == (2, 1)
    assert found.evaluation[-1] == 1


@pytest.mark.parametrize(
    ("span", "period", "start"),
    [(2 * HOUR, "hour", "1970-01-01 00h"), (900 * DAY, "month", "1970-01"), (9_000 * DAY, "year", "1970")],
)
def test_the_period_follows_from_the_span(span: int, period: str, start: str) -> None:
    found = timeline(np.array([0]), np.array([span]))
    assert found is not None
    assert (found.period, found.starts[0]) == (period, start)


def test_no_events_have_no_time_line() -> None:
    nothing = np.zeros(0, np.int64)
    assert timeline(nothing, nothing) is None


@pytest.mark.slow
@pytest.mark.smoke
@hypothesis.given(
    st.lists(st.integers(0, 2 * 10**15), min_size=1, max_size=30), st.lists(st.integers(0, 2 * 10**15), max_size=30)
)
def test_every_event_is_in_one_period(train: list[int], evaluation: list[int]) -> None:
    found = timeline(np.array(train, np.int64), np.array(evaluation, np.int64))
    assert found is not None
    assert (sum(found.train), sum(found.evaluation)) == (len(train), len(evaluation))
    assert len(found.starts) == len(found.train) == len(found.evaluation) == len(set(found.starts))
    assert list(found.starts) == sorted(found.starts)


def test_users_by_activity() -> None:
    assert activity(np.array([1, 1, 2, 4, 5, 5_000])) == (
        (1, 2), (2, 2), (5, 1), (10, 0), (20, 0), (50, 0), (100, 0), (200, 0), (500, 0), (1_000, 1),
    )  # fmt: skip
    assert activity(np.array([3])) == ((1, 0), (2, 1))


def test_settings_are_those_of_the_config_though_nodes_hold_them() -> None:
    found = settings_of(
        run(
            node(
                "InteractionGen",
                settings={
                    "settings": json.dumps({"users": {"id": "u"}, "timestamp_unit": "s"}),
                    "input_path": "log.csv",
                    "users_path": "users.csv",
                    "cutoff": "",
                },
            ),
            node("Trainer", settings={"custom_config": json.dumps({"seed": 7, "model": {"dim": 8}, "code": "x"})}),
            node("Indexer", settings={"settings": json.dumps({"default_k": 5, "compact": "int8"})}),
        )
    )
    assert dict(flat(found)) == {
        "seed": "7",
        "data.interactions.path": "log.csv",
        "data.interactions.timestamp_unit": "s",
        "data.interactions.users.id": "u",
        "data.interactions.users.path": "users.csv",
        "model.dim": "8",
        "serving.default_k": "5",
        "export.compact": "int8",
    }


def test_a_page_says_why_something_is_missing() -> None:
    failed = reports.failed("disk full")
    assert failed.why_missing("Trainer") == "The run ended here: disk full"
    assert failed.why_missing("Evaluator") == "The run ended before this, at Trainer."
    assert failed.why_missing("InteractionGen") == "The files of InteractionGen are gone."
    assert reports.findings().why_missing("Trainer") == "This run left Trainer out."
