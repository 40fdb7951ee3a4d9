"""How far what requests say is from what the model was trained on: TFDV's comparators, as the Guards have them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics as Statistics

from components.data_profile import IN_VERSION
from components.guards import drift
from components.guards.profile import Profile, from_json
from components.guards.settings import GuardSettings
from components.hashing import hash_text
from serving.stores import AnyPath

HISTORY = "history"
_MOST = 50_000
"""Lists that are looked at."""
_TEXT = statistics_pb2.FeatureNameStatistics.STRING


@dataclasses.dataclass(frozen=True)
class Skew:
    """One feature in requests and in training."""

    feature: str
    missing: float
    """The share of the requests without it."""
    trained_missing: float
    """The share of the training events without it."""
    measure: str = ""
    """`L-infinity` or `Jensen-Shannon`; empty where there are too few values."""
    value: float | None = None
    limit: float | None = None
    """The Guards' for the drift of the feature."""


class Sample:
    """An even sample of lists, the same whatever the parts are."""

    def __init__(self) -> None:
        self.lists: pa.Table | None = None

    def add(self, lists: pa.Table) -> None:
        """Adds those of a part."""
        own = lists.select(["request", "context", HISTORY])
        own = own if self.lists is None else pa.concat_tables([self.lists, own])
        if len(own) > _MOST:
            own = own.take(pa.array(np.argsort(hash_text(own["request"].combine_chunks()), kind="stable")[:_MOST]))
        self.lists = own.combine_chunks()


def find_profile(versions: Iterable[AnyPath]) -> tuple[AnyPath, Profile] | None:
    """Returns the first of some versions that says what it was trained on, and that."""
    for version in versions:
        path = version / IN_VERSION
        if path.is_file() and (profile := from_json(path.read_text("utf-8"), str(path))) is not None:
            return version, profile
    return None


def skews(lists: pa.Table, trained: Profile, taken: Sequence[str], settings: GuardSettings) -> list[Skew]:
    """Measures the features of a model.

    Args:
        lists: With `context` and `history`.
        trained: What the model was trained on.
        taken: The features that it takes.
        settings: The limits.

    Returns:
        A line for each feature that it was trained on; one for histories where requests have any.
    """
    statistics = trained.features.get("", Statistics())
    known = {feature.path.step[0]: feature for feature in statistics.features}
    names = [name for name in taken if name in known]
    columns = dict(_columns(lists, {name: known[name].type == _TEXT for name in names}))
    # Who is known needs no history of their own: those without one say nothing of the others.
    histories = lists[HISTORY].filter(pa.array([bool(history) for history in lists[HISTORY].to_pylist()], pa.bool_()))
    found: dict[str, drift.Drift] = {}
    for part in (columns, {HISTORY: histories.combine_chunks()} if len(histories) and HISTORY in known else {}):
        if part:
            batch = pa.RecordBatch.from_arrays(list(part.values()), list(part))
            [logged] = stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions()).datasets
            found |= {one.feature: one for one in drift.measure({"": logged}, {"": statistics}, settings)}
    lacking = {name: column.null_count / max(len(column), 1) for name, column in columns.items()}
    if len(histories) and HISTORY in known:
        lacking[HISTORY] = 1 - len(histories) / len(lists)
    before = trained.missing()
    return [Skew(name, lacking[name], before.get(name, 0.0), *_measured(found.get(name))) for name in lacking]


def _measured(found: drift.Drift | None) -> tuple[Any, ...]:
    return () if found is None else (found.measure, found.value, found.limit)


def _columns(lists: pa.Table, texts: dict[str, bool]) -> Iterator[tuple[str, pa.Array]]:
    """Yields the features of contexts as lists of text or numbers."""
    contexts = [json.loads(text) for text in lists["context"].to_pylist()]
    for name, is_text in texts.items():
        yield (
            name,
            pa.array(
                [_values(context.get(name), is_text) for context in contexts],
                pa.list_(pa.string() if is_text else pa.float32()),
            ),
        )


def _values(value: Any, is_text: bool) -> list[Any] | None:
    values = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
    kept = [str(one) for one in values] if is_text else [float(one) for one in values if isinstance(one, (int, float))]
    return kept or None
