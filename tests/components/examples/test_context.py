"""Features of user and moment, from and to tf.Examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from components.examples import context, reading
from tests.components.conftest import write_examples

LISTED = [
    {"name": "age", "type": "number"},
    {"name": "timestamp", "type": "timestamp"},
    {"name": "job", "type": "text"},
]


def test_types_of_a_manifest() -> None:
    assert context.feature_types(LISTED) == {"age": float, "timestamp": int, "job": bytes}


def test_rows_have_what_they_have(tmp_path: Path) -> None:
    rows = [{"age": 3.5, "job": ["smith", "cook"]}, {"timestamp": 7}]
    write_examples(tmp_path, "eval", rows)
    features = context.feature_types(LISTED)
    table = reading.read_columns(str(tmp_path), "eval", features)
    found = [{"age": [3.5], "job": [b"smith", b"cook"]}, {"timestamp": [7]}]
    assert list(context.read_contexts(table, features)) == found
    assert list(context.read_contexts(table, features, [1, 0])) == found[::-1]


def test_a_serialized_context_has_the_features_in_their_types() -> None:
    example = tf.train.Example.FromString(
        context.serialize({"age": [3.5], "timestamp": [7], "job": [b"a", b"b"]}, context.feature_types(LISTED))
    )
    features = example.features.feature
    assert features["age"].float_list.value == [pytest.approx(3.5)]
    assert features["timestamp"].int64_list.value == [7]
    assert features["job"].bytes_list.value == [b"a", b"b"]
    assert context.serialize({}, {}) == tf.train.Example().SerializeToString()
