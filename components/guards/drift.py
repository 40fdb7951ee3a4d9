"""Drift of features between two days' statistics, by TFDV's comparators."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Optional

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics as Statistics

from components.guards.settings import GuardSettings

_FEW = 20
"""Values of which any sample looks different."""
_TEXT = statistics_pb2.FeatureNameStatistics.STRING
_KINDS = {_TEXT: schema_pb2.BYTES, statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT}


@dataclasses.dataclass(frozen=True)
class Drift:
    """How far a feature's distribution has moved."""

    feature: str
    measure: str
    """`L-infinity` or `Jensen-Shannon`."""
    value: float
    limit: float
    setting: str
    """The key of the limit."""


def measure(today: Mapping[str, Statistics], before: Mapping[str, Statistics], settings: GuardSettings) -> list[Drift]:
    """Measures the drift of each feature that both have at least 20 values of, and that has a limit.

    Args:
        today: Statistics by prefix of the features' names.
        before: Those of the other day.
        settings: The limits.
    """
    return [
        drift
        for prefix, statistics in today.items()
        if prefix in before
        for drift in _of_table(prefix, statistics, before[prefix], settings)
    ]


def _of_table(prefix: str, today: Statistics, before: Statistics, settings: GuardSettings) -> Iterator[Drift]:
    enough = {feature.path.step[0] for feature in before.features if _values(feature) >= _FEW}
    schema = schema_pb2.Schema()
    limits = {}
    for feature in today.features:
        name = feature.path.step[0]
        limit, setting = _limit(prefix + name, feature.type == _TEXT, settings)
        if limit is None or name not in enough or _values(feature) < _FEW:
            continue
        wanted = schema.feature.add(name=name, type=_KINDS.get(feature.type, schema_pb2.FLOAT))
        if feature.type == _TEXT:
            wanted.drift_comparator.infinity_norm.threshold = limit
        else:
            wanted.drift_comparator.jensen_shannon_divergence.threshold = limit
        limits[name] = (limit, setting)
    found = tfdv.validate_statistics(_list(today), schema, previous_statistics=_list(before))
    for info in found.drift_skew_info:
        name = info.path.step[0]
        for measured in info.drift_measurements:
            kind = "L-infinity" if measured.type == measured.L_INFTY else "Jensen-Shannon"
            yield Drift(prefix + name, kind, measured.value, *limits[name])


def _limit(name: str, text: bool, settings: GuardSettings) -> tuple[Optional[float], str]:
    if name in settings.drift:
        return settings.drift[name], f"drift.{name}"
    return (settings.max_l_infinity, "max_l_infinity") if text else (settings.max_jensen_shannon, "max_jensen_shannon")


def _values(feature: statistics_pb2.FeatureNameStatistics) -> int:
    return int(getattr(feature, feature.WhichOneof("stats")).common_stats.num_non_missing)


def _list(statistics: Statistics) -> statistics_pb2.DatasetFeatureStatisticsList:
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[statistics])
