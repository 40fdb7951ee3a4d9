"""A Transform graph of before for more events: vocabularies get new values at their end.

Indices that were given stay, so what was transformed stays right, and so do the rows of a model's embeddings.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import metadata_io
from tfx.utils import io_utils
from tfx_bsl.coders import example_coder
from tfx_bsl.tfxio import tensor_to_arrow

from components.examples.reading import read_batches, read_file, read_records, scalars
from components.hashing import mixed
from components.settings import Settings


class Vocabularies(Settings):
    """What the graph keeps of a feature's values."""

    ids: str
    """The vocabulary's name, which has a value a line."""
    counts: str = ""
    """That of a second one with how often each came, where there is one: lines of a number, a blank and the value."""


class Growing(Settings):
    """What a grown Transform must know of the graph."""

    vocabularies: Mapping[str, Vocabularies] = {}
    """The vocabularies that may grow, by the raw feature, of one value, whose values they have; all others stay."""
    user: str = ""
    """The feature of transformed events that is a hash of their user."""
    time: str = ""
    """That of their time in microseconds. Both are for events that are learned again."""


def grow(
    graph_uri: str, growing: Mapping[str, Vocabularies], values: Mapping[str, Counter[bytes]], target: str
) -> None:
    """Writes a graph that knows more values.

    Args:
        graph_uri: The graph of before.
        growing: The vocabularies that may grow, by raw feature.
        values: How often each value of these features comes in the new events.
        target: URI of the new graph.
    """
    io_utils.copy_dir(graph_uri, target)
    graph = tft.TFTransformOutput(target)
    _forget_sizes(os.path.join(target, graph.TRANSFORMED_METADATA_DIR), graph)
    for feature, names in growing.items():
        ids = graph.vocabulary_by_name(names.ids)
        known = set(ids)
        # As Transform itself orders them: the most frequent first, and of equally many the last by name.
        new = sorted((value for value in values[feature] if value not in known), reverse=True)
        new.sort(key=lambda value: -values[feature][value])
        _write(graph, names.ids, [*ids, *new])
        if names.counts:
            counts = values[feature].copy()
            for line in graph.vocabulary_by_name(names.counts):
                count, value = line.split(b" ", 1)
                counts[value] += int(count)
            _write(graph, names.counts, [b"%d %s" % (counts[value], value) for value in [*ids, *new]])


def count_values(examples: str, split: str, features: Sequence[str]) -> dict[str, Counter[bytes]]:
    """How often each value of some features, of which each event has one, comes in a split of Examples."""
    counts: dict[str, Counter[bytes]] = {feature: Counter() for feature in features}
    for columns in read_batches(examples, split, dict.fromkeys(features, bytes)):
        for feature in features:
            counts[feature].update(scalars(columns, feature).tolist())
    return counts


def transformed(files: Iterable[str], graph: tft.TFTransformOutput) -> Iterator[bytes]:
    """Yields the Examples of TFRecord files as the graph makes them, serialized."""
    spec, layer = graph.raw_feature_spec(), graph.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def transform(records: tf.Tensor) -> dict[str, tf.Tensor | tf.SparseTensor]:
        return dict(layer(tf.io.parse_example(records, spec)))

    outputs = transform.get_concrete_function().structured_outputs
    to_arrow = tensor_to_arrow.TensorsToRecordBatchConverter(
        {name: tf.type_spec_from_value(value) for name, value in outputs.items()}
    )
    encoder = example_coder.RecordBatchToExamplesEncoder(graph.transformed_metadata.schema)
    for records, _ in read_records(files, {}):
        yield from encoder.encode(to_arrow.convert(transform(tf.constant(records))))


def times(file: str, growing: Growing) -> np.ndarray:
    """The times [N] int64 of a file of transformed events."""
    found = [scalars(columns, growing.time) for columns in read_file(file, {growing.time: int})]
    return np.concatenate([np.zeros(0, np.int64), *found])


def as_columns(files: Iterable[str], graph: tft.TFTransformOutput) -> Iterator[pa.Table]:
    """Yields transformed events with all of their features."""
    types = {schema_pb2.BYTES: bytes, schema_pb2.INT: int, schema_pb2.FLOAT: float}
    features = {feature.name: types[feature.type] for feature in graph.transformed_metadata.schema.feature}
    for file in files:
        yield from (pa.Table.from_batches([batch]) for batch in read_file(file, features))


def drawn(
    files: Iterable[str], graph: tft.TFTransformOutput, growing: Growing, share: float, night: int, since: int
) -> Iterator[bytes]:
    """Yields the transformed events of a share of the users, serialized.

    Args:
        files: With the events, as `as_columns` has them.
        graph: What transformed them.
        growing: Their features.
        share: Of the users; 1 and more for all.
        night: Each has its own users.
        since: A time in microseconds; older events are left out.
    """
    limit = np.uint64(min(int(share * 2**64), 2**64 - 1))
    salt = mixed(np.array([night]))
    encoder = example_coder.RecordBatchToExamplesEncoder(graph.transformed_metadata.schema)
    for table in as_columns(files, graph):
        wanted = mixed(scalars(table, growing.user).astype(np.uint64) ^ salt) <= limit
        some = table.filter(pa.array(wanted & (scalars(table, growing.time) >= since))).combine_chunks()
        if len(some):
            yield from encoder.encode(some.to_batches()[0])


def _write(graph: tft.TFTransformOutput, vocabulary: str, lines: Sequence[bytes]) -> None:
    with tf.io.gfile.GFile(graph.vocabulary_file_by_name(vocabulary), "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def _forget_sizes(folder: str, graph: tft.TFTransformOutput) -> None:
    """Takes the vocabularies' sizes out of a graph's schema, for they are read there rather than in the files."""
    metadata = graph.transformed_metadata
    if metadata.schema.annotation.extra_metadata:
        del metadata.schema.annotation.extra_metadata[:]
        metadata_io.write_metadata(metadata, folder)
