"""How numbers are written in texts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from components.tables.formats import TableSettings
from pipeline.data.init.numbers import guess_numbers, perhaps_thousands
from pipeline.data.profile import profile


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        (["$1.50", "$20.00"], {"units": ["$"]}),
        (["4,5", "3,0"], {"decimal": ","}),
        (["1,299.00", "20.00"], {"thousands": ","}),
        (["1.299,00 €", "3,50 €"], {"decimal": ",", "thousands": ".", "units": ["€"]}),
        (["1 299,50 kr", "3 kr"], {"decimal": ",", "thousands": " ", "units": ["kr"]}),
        (["35,000", "707"], {"thousands": ","}),
        (["$1,299", "$99", "$0"], {"units": ["$"], "thousands": ","}),
        (["1.299.000 €", "742 €"], {"decimal": ",", "thousands": ".", "units": ["€"]}),
        (["0,737", "0,125"], {"decimal": ","}),
        (["35,000", "707,5"], {"decimal": ","}),
        (["u12", "u13"], {}),
        (["12A", "13B"], {}),
        (["one", "2,5"], {}),
        (["1.5", "2"], {}),
    ],
)
def test_numbers(values: list[str], settings: dict[str, Any]) -> None:
    profiles = {"price": profile(pa.array(values), TableSettings())}
    found, reason = guess_numbers(profiles, TableSettings())
    assert found == settings
    assert reason.startswith("price has numbers such as ") == bool(settings)


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        (["1.299", "742"], True),
        (["1.299", "742.5"], False),
        (["0.125", "3"], False),
        (["1.25", "3"], False),
        (["1.299", "1742"], False),
        (["1.299", "2.345"], False),
    ],
)
def test_points_that_may_stand_between_thousands_are_a_warning(values: list[str], warned: bool) -> None:
    found = list(perhaps_thousands({"price": profile(pa.array(values), TableSettings())}))
    assert [each.split(",")[0] for each in found] == ["price has numbers such as '1.299'"] * warned


def test_columns_that_are_numbers_already_stay_so() -> None:
    profiles = {
        name: profile(pa.array(values), TableSettings())
        for name, values in {"weight": ["1.25", "2.5"], "price": ["4,5", "3,0"]}.items()
    }
    assert guess_numbers(profiles, TableSettings())[0] == {}
