"""Rules of a request as its caller writes them: filters, boosts and diversity, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, Optional, Union

from serving.client.errors import InvalidRequest

Value = Union[str, float]
Filters = Mapping[str, Union[Value, Sequence[Value]]]
"""One or several values by the attribute's name; numbers also by the name with `<=` or `>=`."""


class Rules(NamedTuple):
    """Rules whose values were checked."""

    allow: Sequence[str] = ()
    filters: Sequence[str] = ()
    """Conditions: `name=value`, `name<=number` or `name>=number`."""
    boosts: Sequence[tuple[str, float]] = ()
    """Conditions, and what they add to a score."""
    diversity: Optional[float] = None
    """From 0 to 1; None as the model has it."""


def conditions(filters: Filters) -> list[str]:
    """Returns filters as conditions, such as `brand=x` and `price<=20` of `{"brand": ["x"], "price<=": 20}`.

    Raises:
        InvalidRequest: these are no filters, or a name has no value, which nothing could fulfil.
    """
    if not isinstance(filters, Mapping):
        raise InvalidRequest(
            f"filters={filters!r}: it is a dict of values, such as {{'brand': ['x', 'y'], 'price<=': 20}}"
        )
    found = []
    for name, values in filters.items():
        listed = list(values) if isinstance(values, Iterable) and not isinstance(values, (str, bytes)) else [values]
        if not isinstance(name, str) or not listed:
            raise InvalidRequest(f"filters: {name!r}: {values!r}: it is a name and one value or several")
        found += [f"{name if name.endswith('=') else f'{name}='}{_written(name, value)}" for value in listed]
    return found


def boosted(boosts: Mapping[str, float]) -> list[tuple[str, float]]:
    """Returns boosts as pairs.

    Raises:
        InvalidRequest: these are no boosts.
    """
    if not isinstance(boosts, Mapping):
        raise InvalidRequest(f"boosts={boosts!r}: it is a dict of numbers by condition, such as {{'brand=x': 0.5}}")
    for condition in boosts:
        if not isinstance(condition, str) or "=" not in condition:
            raise InvalidRequest(f"boosts: {condition!r} is no condition, such as 'brand=x' or 'price<=20'")
    return [(condition, _number(f"boosts: {condition!r}", by)) for condition, by in boosts.items()]


def checked_diversity(diversity: Any) -> Optional[float]:
    """Returns the diversity, if it is one.

    Raises:
        InvalidRequest: it is neither a number from 0 to 1 nor None.
    """
    if diversity is not None and not 0 <= _number("diversity", diversity) <= 1:
        raise InvalidRequest(f"diversity={diversity!r}: it is from 0 (by score alone) to 1")
    return diversity


def weighed(tasks: Mapping[str, float]) -> list[tuple[str, float]]:
    """Returns weights of tasks as pairs.

    Raises:
        InvalidRequest: these are no weights, one is below 0, or all are 0.
    """
    if not isinstance(tasks, Mapping):
        raise InvalidRequest(
            f"tasks={tasks!r}: it is a dict of weights by task, such as {{'purchase': 1, 'view': 0.2}}"
        )
    for name in tasks:
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"tasks: {name!r} is no name of a task")
    pairs = [(name, _number(f"tasks: {name!r}", weight)) for name, weight in tasks.items()]
    if any(weight < 0 for _, weight in pairs) or (pairs and not any(weight for _, weight in pairs)):
        raise InvalidRequest(f"tasks={dict(tasks)!r}: weights are 0 or more, and one of them is more")
    return pairs


def _written(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    number = _number(f"filters: {name}", value)
    return str(int(value)) if isinstance(value, Integral) else repr(number)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidRequest(f"{name}={value!r} is a {type(value).__name__}, not a number")
    if not math.isfinite(value):
        raise InvalidRequest(f"{name}={value!r}: it must be finite")
    return float(value)
