"""The catalogue as the Guards see it: which items are listed, and the statistics of their features.

The statistics are TFDV's, of one process: a StatisticsGen, which is a Beam pipeline, would take a second more of each
run for a few megabytes that fit into memory elsewhere too. The function that makes them of a batch is not among those
that TFDV's package names, but has no underscore either; both tracks have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.examples import reading
from components.examples.catalogue import CATALOGUE_SPLIT, LISTED
from components.hashing import hashes

_TYPES = {"category": bytes, "categories": bytes, "number": float}
"""Of features whose values are compared; hardly two texts are the same."""


class Catalogue(NamedTuple):
    """What is known of the items."""

    listed: np.ndarray
    """[N] uint64, hashes of the items that the catalogue's files list."""
    statistics: statistics_pb2.DatasetFeatureStatisticsList
    """Of their features."""


def read(uri: str, kinds: Mapping[str, str]) -> Catalogue:
    """Reads the catalogue's Examples.

    Args:
        uri: Where they are.
        kinds: The types of the items' features by name.
    """
    features = {name: _TYPES[kind] for name, kind in kinds.items() if kind in _TYPES}
    table = reading.read_columns(uri, CATALOGUE_SPLIT, {"item_id": bytes, LISTED: int, **features})
    is_listed = reading.scalars(table, LISTED, 0) == 1
    statistics = statistics_pb2.DatasetFeatureStatisticsList(datasets=[statistics_pb2.DatasetFeatureStatistics()])
    if features and is_listed.any():
        [batch] = table.filter(pa.array(is_listed)).select(list(features)).combine_chunks().to_batches()
        statistics = stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())
    return Catalogue(hashes(reading.scalars(table, "item_id")[is_listed]), statistics)
