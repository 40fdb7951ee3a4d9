"""How numbers are written in the texts of a table: with a decimal comma, with marks between thousands, with units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from components.tables.columns import as_numbers
from components.tables.formats import TableSettings
from pipeline.data.profile import Profile

_LIKE_A_NUMBER = re.compile(r"\s*([^\d\s.,+-]{0,4})\s*[+-]?\d[\d.,' _\u00a0]*\s*([^\d\s.,]{0,4})\s*$")
_THOUSANDS = r"\D*[1-9]\d{{0,2}}({0}\d{{3}})*\D*|\D*0\D*"
"""Whole numbers of which each mark stands before three digits."""
NUMBERS = ("decimal", "thousands", "units")
"""The settings that say how numbers are written."""

_TRIED_ON = 200
_CODES = frozenset(
    (
        *("USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RUB", "BRL"),
        *("RS", "KR", "ZŁ", "KČ", "FT", "TL", "R$", "US$", "A$", "C$"),
    )
)
"""Units of money in letters."""


def guess_numbers(profiles: Mapping[str, Profile], how: TableSettings) -> tuple[dict[str, Any], str]:
    """Returns the settings with which columns of text are numbers, and why; none where there are no such columns.

    Args:
        profiles: What the columns hold.
        how: How the table is read so far.
    """
    for name, seen in profiles.items():
        texts = list(seen.texts[:_TRIED_ON])
        found = [_LIKE_A_NUMBER.match(text) for text in texts]
        if seen.kind != "text" or not texts or not all(found):
            continue
        units = sorted({unit.strip() for match in found if match for unit in match.groups() if unit.strip()})
        if not all(map(_is_unit, units)):
            continue
        for settings in _ways(units, texts):
            try:
                other = TableSettings(**{**how.model_dump(exclude_unset=True), **settings})
            except ValidationError:  # such as thousands that are the delimiter's
                continue
            if not as_numbers(pa.array(texts), "", other)[2].any() and _still_numbers(profiles, other):
                return settings, f"{name} has numbers such as {seen.examples[0]!r}"
    return {}, ""


def perhaps_thousands(profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Yields a warning of each column whose points may stand between thousands, as in 742 and 1.299."""
    for name, seen in profiles.items():
        if seen.kind != "number" or not seen.in_text or seen.numbers is None:
            continue
        whole = seen.numbers == np.floor(seen.numbers)
        thousandths = 1000 * seen.numbers[~whole]
        are_three = np.allclose(thousandths, np.round(thousandths)) and (np.round(thousandths) % 10 != 0).any()
        if whole.any() and are_three and (thousandths >= 1000).all() and (seen.numbers < 1000).all():
            yield (
                f"{name} has numbers such as {seen.examples[0]!r}, none with other than three digits behind the point: "
                "if it stands between thousands, set thousands: '.' and decimal: ','"
            )


def _ways(units: list[str], texts: list[str]) -> Iterator[dict[str, Any]]:
    more = {"units": units} if units else {}
    if units:
        yield more
    for mark, others in ((",", {}), (".", {"decimal": ","})):
        if all(re.fullmatch(_THOUSANDS.format(re.escape(mark)), text) for text in texts):
            yield {**others, "thousands": mark, **more}
    yield {"decimal": ",", **more}
    yield {"thousands": ",", **more}
    yield {"decimal": ",", "thousands": ".", **more}
    for mark in (" ", "'", "_"):
        yield {"thousands": mark, **more}
        yield {"decimal": ",", "thousands": mark, **more}


def _is_unit(text: str) -> bool:
    """Whether a text is a unit that no id begins or ends with."""
    return text == "%" or text.upper() in _CODES or any(unicodedata.category(sign) == "Sc" for sign in text)


def _still_numbers(profiles: Mapping[str, Profile], how: TableSettings) -> bool:
    """Whether columns that are numbers by themselves stay so."""
    for seen in profiles.values():
        if seen.kind == "number" and as_numbers(pa.array(list(seen.examples)), "", how)[2].any():
            return False
    return True
