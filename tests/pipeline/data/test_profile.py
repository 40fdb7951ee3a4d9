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
        ([True, False], "flag", ("True", "False")),
        (["yes", "no"], "flag", ("yes", "no")),
        ([datetime.date(2020, 9, 13)], "time", ("2020-09-13",)),
        (["2020-09-13T20:33:39Z"], "time", ("2020-09-13T20:33:39Z",)),
        (["13.09.2020 20:33"], "time", ("13.09.2020 20:33",)),
        (["['Art', 'Pop']", "[]"], "list", ("['Art', 'Pop']", "[]")),
        ([["Art", "Pop"], None, []], "list", ("['Art', 'Pop']",)),
        ([["Art"], None, []], "text", ("Art",)),  # as TFRecords have it
        ([[1], [2]], "whole", ("1", "2")),
        ([{"a": 1}], "object", ("{'a': 1}",)),
        (['{"a": 1}'], "object", ('{"a": 1}',)),
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
