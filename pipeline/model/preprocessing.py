"""Transform's preprocessing of events and of items: the graphs that training and serving share.

Indices of vocabularies start at `FIRST`; 0 is padding and 1 is anything the vocabulary lacks. The item vocabulary is
ordered by training frequency, so index 2 is the most popular item.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components.examples.interactions import PLACE
from pipeline.model.moments import mean_and_deviation, mean_of_vectors

PADDING, UNKNOWN, FIRST = 0, 1, 2

ITEM_VOCABULARY = "item_id"
ITEM_COUNTS = "item_counts"
USER_VOCABULARY = "user_id"
QUERY_PREFIX = "query_"

_LEAST_SPREAD = 1e-6
"""Vectors that are nearer to each other are the same."""

NO_TIME = -(2**63)
"""Timestamp of a request that does not say when it is."""
_SECOND = 1_000_000  # timestamps are in microseconds
TIME_FEATURES = {"hour": (3_600 * _SECOND, 24, 0), "weekday": (86_400 * _SECOND, 7, 3)}
"""Features of a timestamp by name: how long one value lasts, how many there are, the value at the epoch (UTC; Monday is
0, and 1970 began on a Thursday)."""


def preprocess_interactions(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Events to model inputs.

    Args:
        inputs: `user_id` and `item_id` [B, 1] string, `history` sparse [B, H] string, `weight` [B, 1] float,
            `timestamp` and `PLACE` [B, 1] int64, and the query features, sparse.
        custom_config: `features`: query feature to type (`category`, `categories`, `number`, `text`); `time_features`:
            names of `TIME_FEATURES`; `user_id`: whether users get a vocabulary; `categories` and `text_tokens`: sizes
            of the vocabularies; and only where the model has tasks `event`, true: then `inputs` have `event` [B, 1]
            string, the events' types.

    Returns:
        `item` [B] int64 and `history` sparse [B, H] int64, indices into the item vocabulary; `user_hash` [B] int64,
        the same for the same user; `weight` [B] float32; `timestamp` [B] int64 microseconds; `place` [B] int64, among
        the user's events of the same time, if their order counts; `user` [B] int64, index
        into the user vocabulary, if asked for; `event` [B] string as it came, likewise; and with `QUERY_PREFIX` before
        the name, the query features as `preprocess_catalogue` gives the items', and each time feature sparse [B, 1]
        int64.
    """
    item_id = tf.reshape(inputs["item_id"], [-1])
    user_id = tf.reshape(inputs["user_id"], [-1])
    timestamp = tf.reshape(inputs["timestamp"], [-1])
    vocabulary = tft.vocabulary(item_id, vocab_filename=ITEM_VOCABULARY)
    # A second file because the one with frequencies cannot be looked up.
    tft.vocabulary(item_id, vocab_filename=ITEM_COUNTS, store_frequency=True)
    outputs = {
        "item": _index(item_id, vocabulary),
        "history": _index(inputs["history"], vocabulary),
        "user_hash": tf.strings.to_hash_bucket_fast(user_id, 2**63 - 1),
        "weight": tf.reshape(inputs["weight"], [-1]),
        "timestamp": timestamp,
        "place": tf.reshape(inputs[PLACE], [-1]),
    }
    if custom_config["user_id"]:
        outputs["user"] = _index(user_id, tft.vocabulary(user_id, vocab_filename=USER_VOCABULARY))
    if custom_config.get("event"):
        outputs["event"] = tf.reshape(inputs["event"], [-1])
    for name in custom_config["time_features"]:
        length, count, start = TIME_FEATURES[name]
        value = FIRST + (timestamp // length + start) % count
        index = tf.where(timestamp == NO_TIME, tf.constant(PADDING, tf.int64), value)
        outputs[QUERY_PREFIX + name] = tf.sparse.from_dense(index[:, tf.newaxis])
    return outputs | _side_features(inputs, custom_config, QUERY_PREFIX)


def preprocess_catalogue(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Items to the candidate tower's side features.

    Args:
        inputs: `item_id` [B, 1] string, vectors [B, E] float32, and the other side features of the config, sparse.
        custom_config: `features`: name to type (`category`, `categories`, `number`, `text`, `vector` or `embedding`);
            `categories` and `text_tokens`: sizes of the vocabularies.

    Returns:
        `item_id` [B] string, and by feature: sparse indices into its vocabulary, for a number its z-score [B] float32
        with 0, the mean, where it is missing, a vector [B, E] float32 as it comes, or an embedding likewise, with the
        mean of all taken off.
    """
    return {"item_id": tf.reshape(inputs["item_id"], [-1])} | _side_features(inputs, custom_config, "")


def _side_features(inputs: dict[str, Any], custom_config: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Each feature as indices, a z-score or a vector; the outputs and the vocabularies' files have the prefix."""
    outputs: dict[str, Any] = {}
    for name, kind in custom_config["features"].items():
        value = inputs[name]
        if kind == "number":
            outputs[prefix + name] = _standardise(value)
            continue
        if kind == "vector":
            outputs[prefix + name] = value
            continue
        if kind == "embedding":
            outputs[prefix + name] = _centre(value)
            continue
        if kind == "text":
            value = _tokens(value)
        size = custom_config["text_tokens" if kind == "text" else "categories"]
        outputs[prefix + name] = _index(value, tft.vocabulary(value, top_k=size, vocab_filename=prefix + name))
    return outputs


def _index(value: Any, vocabulary: Any) -> Any:
    """Indices of `value` in `vocabulary`, shifted to leave room for padding and the unknown."""
    index = tft.apply_vocabulary(value, vocabulary, default_value=UNKNOWN - FIRST)
    if isinstance(index, tf.SparseTensor):
        return tf.SparseTensor(index.indices, index.values + FIRST, index.dense_shape)
    return index + FIRST


def _standardise(value: tf.SparseTensor) -> tf.Tensor:
    """Z-score [B] of a sparse [B, 1] number, 0 where it is missing."""
    mean, deviation = mean_and_deviation(value.values)
    values = tf.math.divide_no_nan(tf.cast(value.values, tf.float64) - mean, deviation)
    # Filling after scaling keeps missing values out of the mean.
    scaled = tf.SparseTensor(value.indices, values, value.dense_shape)
    dense = tft.sparse_tensor_to_dense_with_shape(scaled, [None, 1], default_value=0.0)
    return tf.cast(tf.reshape(dense, [-1]), tf.float32)


def _centre(value: tf.Tensor) -> tf.Tensor:
    """Vectors [B, E] float32 of length 1 without what they have in common, their mean, so that it is what tells them
    apart that is learned; scaled to a mean square length of 1. Zeros, for missing ones, stay.

    What a model's vectors have in common can be most of them (Mu and Viswanath, "All-but-the-top", 2018).
    """
    mean = mean_of_vectors(value)
    spread = 1 - tf.reduce_sum(mean**2)  # the mean square of the distances from the mean
    scale = tf.where(spread > _LEAST_SPREAD, tf.math.rsqrt(tf.maximum(spread, _LEAST_SPREAD)), 0)
    there = tf.reduce_any(value != 0, axis=1, keepdims=True)
    return tf.where(there, tf.cast((tf.cast(value, tf.float64) - mean) * scale, tf.float32), 0)


def _tokens(value: tf.SparseTensor) -> tf.SparseTensor:
    """Lower-case words of a sparse [B, 1] text: runs of letters and digits of any script."""
    text = tf.reshape(tft.sparse_tensor_to_dense_with_shape(value, [None, 1], default_value=""), [-1])
    words = tf.strings.split(tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), r"[^\pL\pN]+", " "))
    return words.to_sparse()
