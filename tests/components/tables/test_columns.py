"""Typing columns: text, numbers, times and lists, bad values marked."""

import numpy as np
import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables.columns import as_lists, as_numbers, as_text, as_times, guess_time_unit


def test_ids_stay_exact():
    digits = "123456789012345678901234567890123456789"
    assert as_text(pa.array([digits, " 007", "1e3", ""]), "id").to_pylist() == [digits, " 007", "1e3", None]
    assert as_text(pa.array([7, None, -1], pa.int16()), "id").to_pylist() == ["7", None, "-1"]
    assert as_text(pa.array(["a", "a"]).dictionary_encode(), "id").to_pylist() == ["a", "a"]
    with pytest.raises(InputError, match="'id' holds floating-point numbers"):
        as_text(pa.array([1.0]), "id")
    with pytest.raises(InputError, match="more than one value"):
        as_text(pa.array([["a", "b"]]), "id")


def test_numbers():
    text = pa.array(["1.5", " 2 ", "+3", "", None, "NaN", "null", "x", "1,5", "inf", "1e400", "0x10"])
    values, missing, bad = as_numbers(text, "x")
    assert np.array_equal(values[:3], [1.5, 2, 3])
    assert np.flatnonzero(missing).tolist() == [3, 4, 5, 6]
    assert np.flatnonzero(bad).tolist() == [7, 8, 9, 10, 11]
    assert as_numbers(pa.array([1, None], pa.int32()), "x")[1].tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1998-03-07", 889_228_800_000_000),
        ("1998-03-07T02:21:09Z", 889_237_269_000_000),
        ("1998-03-07 03:21:09.5+01:00", 889_237_269_500_000),
        ("1998-03-07T02:21:09.123456789", 889_237_269_123_456),
        ("1998-02-30", None),
        ("07.03.1998", None),
        ("889237269", None),
        ("0998-03-07", None),
    ],
)
def test_iso_times(text, expected):
    # Beside good values, with and without an offset, the bad one alone is bad.
    times, missing, bad = as_times(pa.array([text, "1970-01-01", "1970-01-01T00:00:01Z", ""]), "iso", "when")
    assert bad.tolist() == [expected is None, False, False, False]
    assert missing.tolist() == [False, False, False, True]
    assert times[1:3].tolist() == [0, 1_000_000]
    assert expected is None or times[0] == expected


@pytest.mark.parametrize(("unit", "value"), [("s", 889237269), ("ms", 889237269000), ("ns", 889237269000000001)])
def test_numeric_times(unit, value):
    for array in (pa.array([value]), pa.array([str(value)])):
        assert as_times(array, unit, "when")[0].tolist() == [889_237_269_000_000]
        assert guess_time_unit(array, "when") == unit


def test_times_in_the_wrong_unit_are_bad_not_in_the_year_30000():
    _, _, bad = as_times(pa.array(["889237269000", "9" * 30, "x", "889237269.25"]), "s", "when")
    assert bad.tolist() == [True, True, True, False]


def test_arrow_times_know_their_unit():
    for kind in (pa.timestamp("ns"), pa.timestamp("s", "Europe/Berlin")):
        times = pa.array([889_237_269 * (10**9 if kind.unit == "ns" else 1)]).cast(kind)
        assert as_times(times, "s", "when")[0].tolist() == [889_237_269_000_000]


def test_lists():
    assert as_lists(pa.array(["a|b||", " c ", "", None]), "|", "x").to_pylist() == [["a", "b"], ["c"], [], []]
    assert as_lists(pa.array([["a|b", ""], None, ["c"]]), "|", "x").to_pylist() == [["a|b"], [], ["c"]]


def test_lists_as_python_or_json_writes_them():
    array = pa.array(
        ["['Fiction', \"Children's\"]", '["Sci-Fi | Fantasy", 3]', "[]", "[Art|Music", "[Art]", "x|[y]", None]
    )
    assert as_lists(array, "|", "genres").to_pylist() == [
        ["Fiction", "Children's"],
        ["Sci-Fi | Fantasy", "3"],
        [],
        ["[Art", "Music"],
        ["[Art]"],
        ["x", "[y]"],
        [],
    ]
