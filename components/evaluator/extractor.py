"""TFMA extractor: asks each model for its answers and keeps the ranks of the items that followed.

TFMA works on one extract at a time in Python. So one extract stands for all queries of a batch that fall into the same
slices, and carries, for each model, the histogram of their ranks: 20,000 queries become a few hundred extracts, and no
metric is any different for it. The price: what TFMA itself counts by extract (`min_slice_size`, its own bootstrap) is
of no use here; the Evaluator counts queries instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from apache_beam.utils import shared

from components import examples
from components.evaluator.metrics.ranks import label_ranks, rank_counts
from components.evaluator.metrics.tfma_metrics import RANK_COUNTS_KEY
from components.evaluator.popularity import Popularity
from components.evaluator.report import POPULARITY
from components.evaluator.servable import Servable

HISTORY_LENGTH = "history_length"
QUERY_FEATURES: examples.Features = {"user_id": bytes, "item_id": bytes, "history": bytes, "seen": bytes}
MISSING = b"(missing)"
"""Value of a slice's feature where the event has none."""

_BANDS = np.array([b"0", b"1-4", b"5-19", b"20+"], dtype=object)
_BAND_STARTS = [1, 5, 20]


@dataclasses.dataclass(frozen=True)
class JudgedModel:
    """A model that takes part in the evaluation."""

    path: str
    """Directory of the SavedModel."""
    depth: int
    """How many items it is asked for."""


def history_bands(lengths: np.ndarray) -> np.ndarray:
    """Returns the band of each history length: [N] bytes, one of 0, 1-4, 5-19, 20+."""
    return _BANDS[np.digitize(lengths, _BAND_STARTS)]


def slice_features(slices: tuple[tuple[str, ...], ...]) -> list[str]:
    """Returns the features that the slices are made from, each once."""
    return sorted({name for columns in slices for name in columns})


def rank_extractor(
    models: Mapping[str, JudgedModel],
    popularity: beam.pvalue.AsSingleton,
    depth: int,
    slices: tuple[tuple[str, ...], ...],
    exclude_seen: bool,
) -> tfma.extractors.Extractor:
    """Makes the extractor.

    Its input are extracts with a RecordBatch of queries, its output extracts with the slices' features and the
    histogram of ranks of each model and of popularity.

    Args:
        models: name to model.
        popularity: side input, a `Popularity`.
        depth: how many items popularity answers with.
        slices: the features by which metrics are split up.
        exclude_seen: whether the items in `seen` are excluded.
    """
    return tfma.extractors.Extractor(
        stage_name="ExtractRanks",
        ptransform=beam.ParDo(_ExtractRanks(models, depth, slice_features(slices), exclude_seen), popularity),
    )


def release_models() -> None:
    """Lets go of the models that the last pipeline loaded into this process.

    Beam keeps the last shared object alive until another is asked for; so one is.
    """
    shared.Shared().acquire(_Servables)


class _Servables(dict[str, Servable]):
    """Loaded models by name; a class of its own, because Beam shares what has weak references only."""


class _ExtractRanks(beam.DoFn):
    def __init__(self, models: Mapping[str, JudgedModel], depth: int, features: list[str], exclude_seen: bool):
        self._models = models
        self._depth = depth
        self._features = features
        self._exclude_seen = exclude_seen
        self._shared = shared.Shared()
        self._servables = _Servables()

    def setup(self) -> None:
        self._servables = self._shared.acquire(self._load)

    def _load(self) -> _Servables:
        return _Servables({name: Servable(model.path, model.depth) for name, model in self._models.items()})

    def process(self, extracts: tfma.Extracts, popularity: Popularity) -> Iterator[tfma.Extracts]:
        batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
        labels = examples.scalars(batch, "item_id")
        users = examples.scalars(batch, "user_id")
        history = examples.padded(batch, "history")
        exclude = examples.padded(batch, "seen", None if self._exclude_seen else 0)
        excluded = [examples.ragged(batch, "history")]
        if self._exclude_seen:
            excluded.append(examples.ragged(batch, "seen"))

        depths = {name: model.depth for name, model in self._models.items()} | {POPULARITY: self._depth}
        ranks = {
            name: label_ranks(servable.recommend(users, history, exclude), labels)
            for name, servable in self._servables.items()
        }
        ranks[POPULARITY] = popularity.label_ranks(labels, excluded, self._depth)

        for values, rows in _groups(self._slice_values(batch), len(labels)):
            yield {
                tfma.FEATURES_KEY: {name: np.array([value]) for name, value in zip(self._features, values)},
                RANK_COUNTS_KEY: {name: rank_counts(ranks[name][rows], depths[name]) for name in ranks},
            }

    def _slice_values(self, batch: Any) -> list[np.ndarray]:
        """Returns each slice feature's values, [B] bytes."""
        return [
            history_bands(np.diff(examples.ragged(batch, "history")[1]))
            if name == HISTORY_LENGTH
            else examples.scalars(batch, name, MISSING)
            for name in self._features
        ]


def _groups(columns: list[np.ndarray], rows: int) -> Iterator[tuple[tuple[bytes, ...], np.ndarray]]:
    """Yields each combination of the columns' values that occurs, with the numbers of its rows."""
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for row, values in enumerate(zip(*columns) if columns else [()] * rows):
        groups.setdefault(values, []).append(row)
    for values, members in groups.items():
        yield values, np.array(members)
