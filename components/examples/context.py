"""Features of the user and of the moment that a model takes beside the history, from and to tf.Examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from components.examples import reading

TYPES = {"number": float, "timestamp": int}
"""Python type of a feature by its type in the manifests of towers and servables; bytes for the others."""


def feature_types(listed: Iterable[Mapping[str, str]]) -> reading.Features:
    """Returns the Python types of a manifest's `context`, features by name."""
    return {feature["name"]: TYPES.get(feature["type"], bytes) for feature in listed}


def read_contexts(
    table: reading.Columns, features: reading.Features, rows: Iterable[int] | None = None
) -> Iterator[dict[str, list[Any]]]:
    """Yields the features of rows, by default of all, by name, as lists; without those that a row hasn't."""
    columns = {name: reading.ragged(table, name) for name in features}
    for row in range(table.num_rows) if rows is None else rows:
        context = {
            name: values[offsets[row] : offsets[row + 1]].tolist() for name, (values, offsets) in columns.items()
        }
        yield {name: values for name, values in context.items() if values}


def serialize(context: Mapping[str, list[Any]], features: reading.Features) -> bytes:
    """Returns a context as a serialized tf.Example."""
    import tensorflow as tf

    example = tf.train.Example()
    for name, values in context.items():
        feature = example.features.feature[name]
        kind = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}[features[name]]
        kind.value.extend(values)
    # Maps have no order of their own: the same context gives the same bytes.
    return example.SerializeToString(deterministic=True)
