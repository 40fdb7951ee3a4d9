"""What columns hold."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest

from components.tables.formats import TableSettings
from pipeline.data.profile import profile


@pytest.mark.parametrize(
    ("values", "kind", "examples"),
    [
        (["1", "20", "1"], "whole", ("1", "20")),
        (["1.5", "2", "nan"], "number", ("1.5", "2")),
        ([1, 2, None], "whole", ("1", "2")),
        ([1.0, None, 3.0], "whole", ("1", "3")),
        ([1.5, float("nan")], "number", ("1.5",)),
        ([datetime.timedelta(seconds=90), None], "whole", ("90",)),
        ([True, False], "flag", ("True", "False")),
        (["yes", "no"], "flag", ("yes", "no")),
        ([datetime.date(2020, 9, 13)], "time", ("2020-09-13",)),
        (["2020-09-13T20:33:39Z"], "time", ("2020-09-13T20:33:39Z",)),
        (["13.09.2020 20:33"], "time", ("13.09.2020 20:33",)),
        (["[13/Sep/2020:20:33:39 +0000]"], "time", ("[13/Sep/2020:20:33:39 +0000]",)),
        (["['Art', 'Pop']", "[]"], "list", ("['Art', 'Pop']", "[]")),
        ([["Art", "Pop"], None, []], "list", ("['Art', 'Pop']",)),
        ([["Art"], None, []], "text", ("Art",)),  # as TFRecords have it
        ([[1], [2]], "whole", ("1", "2")),
        ([{"a": 1}], "object", ("{'a': 1}",)),
        (['{"a": 1}'], "object", ('{"a": 1}',)),
        (["[{'a': 1}]", "[]", "{ }"], "object", ("[{'a': 1}]", "[]", "{ }")),
        (["[]", "{}"], "text", ("[]", "{}")),
        (["u1", "x y\nz", "w" * 50, "v"], "text", ("u1", "x y z", "w" * 39 + "…")),
        (["", None, " "], "empty", ()),
        ([None, None], "empty", ()),
        (["NULL", r"\N"], "empty", ()),
    ],
)
def test_kinds(values: list[Any], kind: str, examples: tuple[str, ...]) -> None:
    found = profile(pa.array(values), TableSettings())
    assert (found.kind, found.examples, found.rows) == (kind, examples, len(values))


def test_what_is_missing_and_by_which_words() -> None:
    found = profile(pa.array(["NA", "u1", "", None, "u1", "u2"]), TableSettings())
    assert (found.missing, found.distinct, found.words) == (3, 2, ("NA",))


def test_forms_of_times() -> None:
    found = profile(pa.array(["03.04.2020", "05.06.2020"]), TableSettings())
    assert (found.form, found.forms) == ("%d.%m.%Y", ())
    assert profile(pa.array(["03/04/2020"]), TableSettings()).forms == ("%d/%m/%Y",)
    assert profile(pa.array(["03/04/2020", "13/04/2020"]), TableSettings()).form == "%d/%m/%Y"
    assert profile(pa.array(["2020-04-13"]), TableSettings()).form == "iso"


def test_numbers_as_the_settings_have_them() -> None:
    how = TableSettings(decimal=",", thousands=".", units=("€",))
    found = profile(pa.array(["1.299,50 €", "3,00 €"]), how)
    assert found.kind == "number"
    assert found.numbers is not None
    assert found.numbers.tolist() == [1299.5, 3.0]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64())])
def test_vectors_of_any_kind_of_list(kind: pa.DataType) -> None:
    found = profile(pa.array([[0.5, 1.0], [2.0, 3.0], None], kind), TableSettings())
    assert (found.kind, found.width, found.missing, found.examples[0]) == ("list", 2, 1, "[0.5, 1.0]")


def test_lists_of_other_lengths_are_no_vectors() -> None:
    assert profile(pa.array([[0.5, 1.0], [2.0]]), TableSettings()).width is None
    assert profile(pa.array(["[0.5, x]"]), TableSettings()).width is None
    assert profile(pa.array(["52.5, 13.4"]), TableSettings()).width is None


def test_what_most_values_are_is_known_where_a_few_are_something_else() -> None:
    found = profile(pa.array(["2020-09-13"] * 39 + ["Total"]), TableSettings())
    assert (found.kind, found.odd) == ("text", ("Total",))
    assert found.mostly is not None
    assert (found.mostly.kind, found.mostly.rows) == ("time", 39)
    many = profile(pa.array(["2020-09-13"] * 5 + ["0000-00-00"] * 5), TableSettings())
    assert many.mostly is not None
    assert (many.mostly.kind, many.mostly.rows, many.odd) == ("time", 5, ("0000-00-00",))
    assert profile(pa.array(["2020-09-13"] * 4 + ["Total"] * 5), TableSettings()).mostly is None
    assert profile(pa.array(["1.5"] * 9 + ["Total"]), TableSettings()).mostly is None
