"""Which columns of items and users are features, and of which type; which one is the id, and what a person is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Optional

from components.tables.features import RESERVED_NAMES
from pipeline.data.init.roles import parts_of
from pipeline.data.profile import Profile

_TITLES = ("title", "name", "product_name", "label", "headline")
_LEFT_OUT = ("url", "image", "img", "picture", "link", "http", "thumbnail", "path", "phone", "email", "zip", "zipcode")
_SEPARATORS = ("|", ">", ";", ",", "/", " ")
_MAX_CATEGORIES = 5000
_MAX_CATEGORY_SHARE = 0.5
_WORDS_OF_TEXT = 3
_TRIED_ON = 50
_FRACTION = re.compile(r"(?<![\w.])-?\d+\.\d+(?![\w.])|\.\.\.")
_DECIMALS = re.compile(r"-?\d+,\d+(\s+-?\d+,\d+)+")


@dataclass
class Features:
    """Features of a table of items or users, by name, as the config has them; and why each."""

    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def guess_features(profiles: Mapping[str, Profile], taken: Set[str], users: bool = False) -> Features:
    """Guesses the features.

    Args:
        profiles: What the columns hold.
        taken: Columns that are something else, and names of features that there are already.
        users: Whether the table is of users, of whom neither words nor vectors are taken.
    """
    found, title = Features(), title_of(profiles)
    for column, seen in profiles.items():
        name = _name(column)
        if column in taken or not name or name in taken or name in found.features:
            continue
        if seen.distinct <= 1 or seen.missing > 0.95 * seen.rows or set(parts_of(column)) & set(_LEFT_OUT):
            continue
        kind, more, reason = (
            ("text", {}, "titles")
            if column == title
            else _type(seen, has_ids=bool(set(parts_of(column)) & {"id", "no", "nr", "code", "key"}))
        )
        if not kind or (users and kind in ("text", "vector")):
            continue
        found.features[name] = {"type": kind, **({} if name == column else {"column": column}), **more}
        found.reasons[name] = reason
    return found


def title_of(profiles: Mapping[str, Profile]) -> Optional[str]:
    """Returns the column that tells people what an item is."""
    for word in _TITLES:
        for column, seen in profiles.items():
            plain = "_".join(part for part in parts_of(column))
            if seen.kind == "text" and "{" not in column and (plain == word or plain.endswith(f"_{word}")):
                return column
    return None


def _type(seen: Profile, has_ids: bool) -> tuple[str, dict[str, Any], str]:
    if seen.width is not None:
        return "vector", {"dim": seen.width}, f"lists of {seen.width:,} numbers"
    if seen.kind == "list" and _are_numbers(seen):
        return "", {}, ""  # of several lengths, or with nan: no vectors, and no categories either
    if seen.kind == "list":
        return "categories", {}, "lists"
    if seen.kind == "number":
        return "number", {}, "numbers"
    if seen.kind == "whole":
        if seen.distinct <= 2 or (has_ids and seen.distinct <= _MAX_CATEGORIES):
            return "category", {}, f"{seen.distinct} values"
        return "number", {}, "whole numbers"
    if seen.kind == "flag":
        return "category", {}, "true or false"
    if seen.kind != "text":
        return "", {}, ""
    if any("://" in text for text in seen.texts):
        return "", {}, ""
    if all(map(_DECIMALS.fullmatch, seen.texts)):
        return "", {}, ""  # vectors, which are to have points
    separator = _separator(seen)
    if separator is not None:
        return "categories", {} if separator == "|" else {"separator": separator}, f"values with {separator!r} between"
    words = sum(len(text.split()) for text in seen.texts) / len(seen.texts)
    there = seen.rows - seen.missing
    again = seen.distinct <= _MAX_CATEGORY_SHARE * there or (there < 20 and words < 2)
    if seen.distinct <= _MAX_CATEGORIES and again:
        return "category", {}, f"{seen.distinct:,} values in {there:,} rows"
    if words >= _WORDS_OF_TEXT or (words >= 1.5 and seen.distinct > _MAX_CATEGORY_SHARE * there):
        return "text", {}, "words"
    return "", {}, ""


def _are_numbers(lists: Profile) -> bool:
    """Whether lists hold numbers with fractions."""
    if lists.inner is not None:
        return lists.inner.kind == "number"
    return all(map(_FRACTION.search, lists.texts[:_TRIED_ON]))


def _separator(seen: Profile) -> Optional[str]:
    """Returns what stands between several values of a set, if texts are such."""
    for separator in _SEPARATORS:
        several = [text for text in seen.texts if separator in text.strip()]
        if len(several) < 0.2 * len(seen.texts):
            continue
        lists = [[part.strip() for part in text.split(separator)] for text in several]
        parts = [part for values in lists for part in values if part]
        distinct = len(set(parts))
        longest = max(len(part.split()) for part in parts) if parts else 0
        # Parts come again in others; of prose they don't, or are many words.
        again = distinct < len(parts) if separator == "|" else distinct <= 0.5 * len(parts)
        if again and longest <= 3 and (separator != " " or distinct <= 60):
            return separator
    return None


def _name(column: str) -> str:
    """Returns a name for the feature of a column that the config takes, "" where there is none."""
    plain = re.sub(r":(token|float|token_seq|float_seq)$", "", column)
    plain = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_")
    if not re.match(r"[A-Za-z]", plain):
        return ""
    return f"{plain}_" if plain in RESERVED_NAMES else plain
