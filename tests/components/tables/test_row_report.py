"""Counting rows, and the words for it."""

import pytest

from components.tables import row_report
from components.tables.row_report import (
    ROWS_OF_USERS,
    Report,
    as_csv,
    as_dict,
    by_reason,
    counted,
    merged,
    problem,
    unreadable,
)


def report(rows, *rejected, **counts):
    made = Report(rows=rows, **counts)
    for row, reason, line, lines in rejected:
        made.reject(0, "log.csv", row, reason, line, lines)
    return made


def test_a_value_with_line_breaks_counts_as_its_rows():
    made = report(10, (3, "bad", "a\nb\nc", 3), (9, "bad", "d", 1))
    assert made.rows == 12
    assert made.rejected == {("log.csv", "bad"): 4}
    assert made.rejected_fraction() == 4 / 12
    assert Report().rejected_fraction() == 0


def test_rows_of_users_count_for_the_share_that_is_rejected():
    made = report(10, (3, "bad", "x", 1))
    made.facts[ROWS_OF_USERS] = 30
    assert made.rejected_fraction() == 1 / 40


def test_the_sum_does_not_depend_on_the_order(monkeypatch):
    monkeypatch.setattr(row_report, "MAX_SAMPLES", 2)
    one = report(5, (4, "b", "y", 1), problems=["two"])
    one.dropped["duplicates"] += 2
    one.split_events["train"] += 3
    other = report(7, (2, "a", "x", 1), (6, "a", "z", 1), problems=["one", "two"])
    other.dropped["duplicates"] += 1
    for total in (merged([one, other]), merged([other, one])):
        assert total.rows == 12
        assert total.dropped == {"duplicates": 3}
        assert total.split_events == {"train": 3}
        assert total.problems == ["one", "two"]
        assert [sample.row for sample in total.samples] == [2, 4], "the first two"
        assert by_reason(total.rejected) == {"a": 2, "b": 1}
    assert merged([]) == Report()


def test_too_many_bad_rows_are_a_problem_with_examples():
    made = report(100, (4, "x is missing", "a,,b", 1), (7, "x is missing", "c,,d", 1))
    assert problem(made, 0.02, "the log") is None
    first, *lines = problem(made, 0.01, "the log").splitlines()
    assert first.startswith("the log: 2 of 100 rows can't be used, more than max_rejected_fraction 0.01 allows; ")
    assert lines == ["  log.csv: 2 × x is missing (rows 4, 7: 'a,,b')"]
    assert problem(report(1, problems=["broken", "gone"]), 1.0, "the log") == "broken\ngone"


@pytest.mark.parametrize(
    ("message", "expected"), [("no such column", "log.csv: no such column"), ("log.csv: broken", "log.csv: broken")]
)
def test_a_file_that_can_not_be_read_is_named_once(message, expected):
    assert unreadable("log.csv", ValueError(message)).problems == [expected]


def test_counts_in_words():
    assert counted({}) == "0"
    assert counted({"b": 234, "a": 1000, "c": 0, "d": 234}) == "1,468 (1,000 a, 234 b, 234 d)"


def test_what_is_written():
    made = report(3, (2, "bad", 'say "hi"', 1), split_events={"train": 2})
    assert as_dict(made) == {
        "rows": 3,
        "rejected": [{"source": "log.csv", "reason": "bad", "rows": 1}],
        "dropped": {},
        "events": {"train": 2},
        "facts": {},
    }
    assert as_csv(made.samples) == 'source,row,reason,line\nlog.csv,2,bad,"say ""hi"""\n'
