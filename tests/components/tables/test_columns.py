"""Typing columns: text, numbers and lists, bad values marked."""

import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables.columns import as_lists, as_numbers, as_text, like_a_price, not_utf8
from components.tables.formats import TableSettings


def test_ids_stay_exact():
    digits = "123456789012345678901234567890123456789"
    assert as_text(pa.array([digits, " 007", "1e3", ""]), "id").to_pylist() == [digits, " 007", "1e3", None]
    assert as_text(pa.array([7, None, -1], pa.int16()), "id").to_pylist() == ["7", None, "-1"]
    assert as_text(pa.array(["a", "a"]).dictionary_encode(), "id").to_pylist() == ["a", "a"]
    with pytest.raises(InputError, match="more than one value"):
        as_text(pa.array([["a", "b"]]), "id")


def test_numbers():
    text = pa.array(["1.5", " 2 ", "+3", "", None, "NaN", "null", "x", "1,5", "inf", "1e400", "0x10"])
    values, missing, bad = as_numbers(text, "x")
    assert np.array_equal(values[:3], [1.5, 2, 3])
    assert np.flatnonzero(missing).tolist() == [3, 4, 5, 6]
    assert np.flatnonzero(bad).tolist() == [7, 8, 9, 10, 11]
    assert as_numbers(pa.array([1, None], pa.int32()), "x")[1].tolist() == [False, True]


def test_lists():
    assert as_lists(pa.array(["a|b||", " c ", "", None]), "|", "x")[0].to_pylist() == [["a", "b"], ["c"], [], []]
    assert as_lists(pa.array([["a|b", ""], None, ["c"]]), "|", "x")[0].to_pylist() == [["a|b"], [], ["c"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['Fiction', \"Children's\"]", ["Fiction", "Children's"]),
        ('["Sci-Fi | Fantasy", 3, 5.0, null]', ["Sci-Fi | Fantasy", "3", "5"]),
        ("[]", []),
        ("[Art|Music", ["[Art", "Music"]),
        ("x|[y]", ["x", "[y]"]),
        ("[x] y [z]", ["[x] y [z]"]),
        ("('a', 'b')", ["a", "b"]),
        ("(live)", ["(live)"]),
        ("{'b', 'a'}", ["b", "a"]),
        ('{b,"a c",NULL}', ["b", "a c"]),  # PostgreSQL
        ("['a' 'b c'\n 'd']", ["a", "b c", "d"]),  # NumPy, which Python takes for one text
        ("[12  7\n 3]", ["12", "7", "3"]),
        ("[i1, i2]", ["i1", "i2"]),
        ("[i1|i2]", ["i1", "i2"]),
    ],
)
def test_lists_as_programs_write_them(text, expected):
    lists, bad = as_lists(pa.array([text, None]), "|", "genres")
    assert lists.to_pylist() == [expected, []]
    assert not bad.any()


@pytest.mark.parametrize("text", ["[0 1 ... 8 9]", "[[0 1] [2 3]]", "{a: 1}"])
def test_what_numpy_cut_short_and_lists_of_lists_are_none(text):
    assert as_lists(pa.array([text]), "|", "genres")[1].tolist() == [True]


def test_nested_lists_are_no_categories():
    lists, bad = as_lists(
        pa.array(["[['a', 'b'], ['c']]", "[{'name': 'Art'}]", "['x']", '["y", null]', None]), "|", "g"
    )
    assert bad.tolist() == [True, True, False, False, False]
    assert lists.to_pylist()[2:] == [["x"], ["y"], []]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(["a", "b", "c", "d"]), 2)
    assert as_lists(fixed, "|", "g")[0].to_pylist() == [["a", "b"], ["c", "d"]]
    with pytest.raises(
        InputError, match=r"'g' is of type struct.* where text is needed; name one of its fields, .*g\.n"
    ):
        as_lists(pa.array([[{"n": "Art"}]]), "|", "g")


def test_whole_floats_are_ids_and_others_are_not():
    assert as_text(pa.array([196.0, None, float("nan"), -2.0]), "id").to_pylist() == ["196", None, None, "-2"]
    assert as_text(pa.array([7.0, None], pa.float32()), "id").to_pylist() == ["7", None]
    with pytest.raises(InputError, match=r"'id' holds 1\.5, a number with a fraction"):
        as_text(pa.array([1.0, 1.5]), "id")
    for value in (2.0**60, float("inf")):
        with pytest.raises(InputError, match="whose last digits are lost"):
            as_text(pa.array([value]), "id")


def test_floats_of_fewer_bits_lose_digits_sooner():
    assert as_text(pa.array([2.0**24 - 1], pa.float32()), "id").to_pylist() == ["16777215"]
    for value, kind in ((2.0**24, pa.float32()), (2.0**53, pa.float64())):
        with pytest.raises(InputError, match="whose last digits are lost"):
            as_text(pa.array([value], kind), "id")


def test_bytes_that_are_no_text_are_told_apart():
    """Each as hexadecimal digits where all are equally long; others are none, and no one id for all of them."""
    hashes = [b"\xff" * 20, b"\xfe" * 20, None]
    for kind in (pa.binary(), pa.binary(20)):
        assert as_text(pa.array(hashes, kind), "id").to_pylist() == ["ff" * 20, "fe" * 20, None]
        assert not not_utf8(pa.array(hashes, kind)).any()
    assert not_utf8(pa.array([b"\xff", b"ab", None])).tolist() == [True, False, False]


def test_blanks_are_nothing():
    assert as_text(pa.array([" ", "\t\u00a0", " a"]), "id").to_pylist() == [None, None, " a"]


def test_whole_decimals_are_whole_numbers():
    found = as_text(pa.array([Decimal("3.00"), Decimal("3.50"), None], pa.decimal128(38, 2)), "id")
    assert found.to_pylist() == ["3", "3.50", None]


def test_uuids_decimals_and_bytes():
    one, other = uuid.UUID("12345678-1234-5678-1234-56781234ffff"), uuid.UUID(int=5)
    for kind in (pa.binary(16), pa.binary()):
        array = pa.array([one.bytes, None, other.bytes], kind)
        assert as_text(array, "id").to_pylist() == [str(one), None, str(other)]
        assert as_text(pa.array([b"sixteen letters!"], kind), "id").to_pylist() == ["sixteen letters!"]
    assert as_text(pa.array([Decimal("12"), None]), "id").to_pylist() == ["12", None]
    values, missing, bad = as_numbers(pa.array([Decimal("1.25"), None, Decimal("-7.00")]), "x")
    assert values[[0, 2]].tolist() == [1.25, -7.0]
    assert (missing.tolist(), bad.tolist()) == ([False, True, False], [False] * 3)


@pytest.mark.parametrize(
    ("how", "texts", "expected"),
    [
        ({"units": ["$"], "thousands": ","}, ["$1,299.00", "-$5", "$ 7", "12", "1,00,000"], [1299, -5, 7, 12, 100_000]),
        ({"units": ["$"], "thousands": ","}, ["$1,29", "1,2990", "$1-$2", "€5", "free"], [None] * 5),
        (
            {"units": ["€", "EUR"], "thousands": ".", "decimal": ","},
            ["1.299,50 €", "EUR 3,5", "1.299"],
            [1299.5, 3.5, 1299],
        ),
        ({"thousands": ".", "decimal": ","}, ["1.29", "1,299.5"], [None, None]),
        ({"decimal": ","}, ["4,5", "-,5", "4.5", "1e3"], [4.5, -0.5, None, 1000]),
        ({"thousands": " "}, ["1 299", "1\u00a0299\u202f000"], [1299, 1_299_000]),
        ({"units": ["%"]}, ["12 %", "1,299"], [12, None]),
    ],
)
def test_numbers_as_they_are_written(how, texts, expected):
    values, missing, bad = as_numbers(pa.array([*texts, "NA", None]), "x", TableSettings(**how))
    assert missing.tolist() == [False] * len(texts) + [True, True]
    assert bad.tolist() == [value is None for value in expected] + [False, False]
    assert [value for value, wrong in zip(values, bad) if not wrong][:-2] == [v for v in expected if v is not None]


def test_prices_are_known_by_their_look():
    for text, like in (
        ("$1,299.00", True),
        ("12 %", True),
        ("1.299,50 EUR", True),
        ("long", False),
        ("2020-01-01", False),
    ):
        assert like_a_price(pa.array([text, "x"]), np.array([True, False])) == like
    assert not like_a_price(pa.array(["x", "$5"]), np.array([True, False])), "of the rows that are asked for"


def test_lengths_of_time_are_seconds_and_no_text():
    lengths = pa.array([1500, None, 0], pa.duration("ms"))
    values, missing, bad = as_numbers(lengths, "watched")
    assert values[[0, 2]].tolist() == [1.5, 0]
    assert (missing.tolist(), bad.any()) == ([False, True, False], False)
    with pytest.raises(InputError, match=r"'watched' is of type duration\[ms\] where text is needed"):
        as_text(lengths, "watched")
