"""Reads what options of a request hold: ids, features of a context, and rules."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any

from components.errors import InputError


def parse_ids(values: Sequence[str], option: str) -> list[str]:
    """Reads ids from options that each hold a comma-separated list, quoted as in CSV.

    Args:
        values: such as `['50,181', '"Matrix, The",1']`.
        option: the option's name, for the message.

    Returns:
        All ids in order, such as `['50', '181', 'Matrix, The', '1']`; empty ones are left out.

    Raises:
        InputError: a quote is not closed.
    """
    try:
        rows = [row for value in values for row in csv.reader([value], skipinitialspace=True, strict=True)]
    except csv.Error as error:
        raise InputError(
            f"{option}: {error}; write ids as id1,id2, and one that has a comma or begins with a quote in double"
            " quotes, its own quotes doubled"
        ) from None
    return [item for row in rows for item in row if item]


def parse_context(values: Sequence[str]) -> dict[str, Any]:
    """Reads features of a request from options that each hold `name=value`, the value in YAML.

    Args:
        values: such as `['device=ios', 'age=30']`.

    Returns:
        The features by name, such as `{'device': 'ios', 'age': 30}`.

    Raises:
        InputError: an option is no `name=value`, a value is no YAML, or a name is given twice.
    """
    import yaml

    context: dict[str, Any] = {}
    for option in values:
        name, separator, value = option.partition("=")
        if not separator or not name:
            raise InputError(f"--context {option!r}: expected name=value, such as device=ios")
        if name in context:
            raise InputError(f"--context {option!r}: {name} is given twice; write several values as {name}=[a,b]")
        try:
            context[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that doesn't exist
            raise InputError(
                f"--context {option!r}: the value is not valid YAML: {' '.join(str(error).split())}"
            ) from None
    return context


def parse_filters(values: Sequence[str]) -> dict[str, list[str]]:
    """Reads filters from options that each hold a condition.

    Args:
        values: such as `['brand=x', 'brand=y', 'price<=20']`.

    Returns:
        Values by the name with its operator, such as `{'brand=': ['x', 'y'], 'price<=': ['20']}`.

    Raises:
        InputError: an option is no condition.
    """
    filters: dict[str, list[str]] = {}
    for option in values:
        condition = re.fullmatch(r"(\w+(?:<=|>=|=))(.*)", option, re.DOTALL)
        if not condition:
            raise InputError(f"--filter {option!r}: expected name=value, such as brand=x, or price<=20, price>=5")
        filters.setdefault(condition[1], []).append(condition[2])
    return filters


def parse_tasks(values: Sequence[str]) -> dict[str, float]:
    """Reads weights of tasks from options that each hold `name=number`.

    Args:
        values: such as `['purchase=1', 'view=0.2']`.

    Returns:
        The weights by name, such as `{'purchase': 1.0, 'view': 0.2}`.

    Raises:
        InputError: an option is none, or a name is given twice.
    """
    tasks: dict[str, float] = {}
    for option in values:
        name, _, weight = option.partition("=")
        try:
            number = float(weight)
        except ValueError:
            name = ""
        if not name:
            raise InputError(f"--task {option!r}: expected name=number, such as purchase=1")
        if name in tasks:
            raise InputError(f"--task {option!r}: {name} is given twice")
        tasks[name] = number
    return tasks


def parse_boosts(values: Sequence[str]) -> dict[str, float]:
    """Reads boosts from options that each hold `condition:number`; of a condition given twice the sum counts.

    Raises:
        InputError: an option is none.
    """
    boosts: dict[str, float] = {}
    for option in values:
        condition, _, by = option.rpartition(":")
        try:
            boosts[condition] = boosts.get(condition, 0.0) + float(by)
        except ValueError:
            condition = ""
        if not condition:
            raise InputError(f"--boost {option!r}: expected condition:number, such as brand=x:0.5")
    return boosts
