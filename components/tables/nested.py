"""What lies deeper in a column: paths such as `style.color` into objects, and into lists of them."""

import ast
import json
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import InputError

_DEPTH = 4


def split(column: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the one of `names` that `column` begins with, and the keys of the path from there.

    The longest of them counts. A column that is none of them and begins with none is returned as it is.

    >>> split("style.color", ["user", "style"])
    ('style', ['color'])
    >>> split("style.color", ["style", "style.color"])
    ('style.color', [])
    """
    parts = column.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in names:
            return ".".join(parts[:length]), parts[length:]
    return column, []


def names_below(value: Any, name: str, depth: int = _DEPTH) -> Iterator[str]:
    """Yields `name` and, where `value` is an object or a list of objects, the paths of what is in it."""
    yield name
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict) and depth:
            for key, inner in each.items():
                yield from names_below(inner, f"{name}.{key}", depth - 1)


def fields_below(kind: pa.DataType, name: str) -> Iterator[str]:
    """Yields `name` and, where `kind` is a struct or a list of structs, the paths of its fields."""
    yield name
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        for field in kind:
            yield from fields_below(field.type, f"{name}.{field.name}")


def value_at(value: Any, keys: Sequence[str]) -> Any:
    """Returns what is at the path of `keys`; of a list what is there in each of its parts; None where nothing is.

    A key may hold dots itself.

    >>> value_at([{"name": "Art"}, {"id": 2}, {"name": "Pop"}], ["name"])
    ['Art', 'Pop']
    """
    if not keys or value is None:
        return value
    if isinstance(value, list):
        found = [value_at(each, keys) for each in value]
        return [each for each in found if each is not None]
    if not isinstance(value, dict):
        return None
    for length in range(len(keys), 0, -1):
        key = ".".join(keys[:length])
        if key in value:
            return value_at(value[key], keys[length:])
    return None


def parsed(text: str) -> Any:
    """Returns the value that `text` is in JSON or as Python writes it, numbers as they stand there.

    Raises:
        ValueError: It is neither.
    """
    try:
        return from_json(text)
    except (ValueError, RecursionError):
        pass
    try:
        # Through JSON, so that what it has no word for (sets, bytes) is no value and tuples are lists.
        return from_json(json.dumps(ast.literal_eval(text.strip())))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("neither JSON nor a Python literal") from None


def from_json(text: str) -> Any:
    """Returns the value that `text` is in JSON, numbers as they stand there, but for whole ones without a fraction.

    >>> from_json("[5.0, 0.10, 1e3, NaN]")
    ['5', '0.10', '1e3', None]

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(text, parse_int=str, parse_float=_without_zeros, parse_constant=lambda _: None)


def _without_zeros(number: str) -> str:
    """Returns a whole number as programs write it that take no missing value for a reason to add .0."""
    whole, _, fraction = number.partition(".")
    return number if fraction.strip("0") else whole


def reason_against(value: Any, column: str) -> str:
    """Returns why a value of a JSON file can't stand in a column, or ""."""
    if isinstance(value, dict):
        return f"{column} is a JSON object: name one of its keys, as {column}.key"
    if isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                return f"{column} is a list of JSON objects: name one of their keys, as {column}.key"
            if isinstance(each, list):
                return f"{column} is a list of lists, where one value or one list is needed"
    return ""


def json_array(values: Sequence[Any]) -> pa.Array:
    """Returns text, or lists of text where there is a list; numbers are as they stand in the file."""
    if any(isinstance(value, list) for value in values):
        lists = [value if isinstance(value, list) or value is None else [value] for value in values]
        return pa.array([value and [_json_text(part) for part in value] for value in lists], pa.list_(pa.string()))
    return pa.array([_json_text(value) for value in values], pa.string())


def text_values(array: pa.Array, keys: Sequence[str] = ()) -> list[Any]:
    """Returns what is at the path of `keys` in texts [n] that hold JSON or Python literals; None where nothing is."""
    # Values repeat, and parsing them takes time.
    encoded = array.cast(pa.string()).dictionary_encode()
    found: list[Any] = []
    for text in encoded.dictionary.to_pylist():
        try:
            found.append(value_at(parsed(text), keys))
        except ValueError:
            found.append(None)
    return [None if index is None else found[index] for index in encoded.indices.to_pylist()]


def opened(array: pa.Array, column: str, most: int) -> dict[str, pa.Array]:
    """Returns what is in texts [n] of JSON or Python literals by the paths there; {} for more than `most` paths.

    >>> found = opened(pa.array(["[{'id': 28, 'name': 'Pop'}]"]), "tags", 9)
    >>> {path: values.to_pylist() for path, values in found.items()}
    {'tags.id': [['28']], 'tags.name': [['Pop']]}
    """
    values = text_values(array)
    below = dict.fromkeys(name for value in values for name in names_below(value, column))
    names = [name for name in leaves(list(below)) if name != column]
    if len(names) > most:
        return {}
    keys = (name[len(column) + 1 :].split(".") for name in names)
    return {name: json_array([value_at(value, path) for value in values]) for name, path in zip(names, keys)}


def leaves(names: Sequence[str]) -> list[str]:
    """Returns the columns that hold no others by a path.

    >>> leaves(["style", "style.color", "title"])
    ['style.color', 'title']
    """
    above = {name[:place] for name in names for place, sign in enumerate(name) if sign == "."}
    return [name for name in names if name not in above]


def field_at(array: pa.Array, keys: Sequence[str], column: str) -> pa.Array:
    """Returns what is at the path of `keys` in structs [n], in lists of them, or in maps.

    Raises:
        InputError: There is no such field.
    """
    if not keys:
        return array
    kind = array.type
    if pa.types.is_map(kind):
        return field_at(
            pc.map_lookup(array, query_key=pa.scalar(keys[0], kind.key_type), occurrence="first"), keys[1:], column
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), field_at(pc.list_flatten(array), keys, column))
    if pa.types.is_struct(kind):
        for length in range(len(keys), 0, -1):
            position = kind.get_field_index(".".join(keys[:length]))
            if position >= 0:
                return field_at(pc.struct_field(array, [position]), keys[length:], column)
    raise InputError(f"column {column!r} is not there: {'.'.join(keys)} is no field of a column of type {kind}")


def _json_text(value: Any) -> Optional[str]:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
