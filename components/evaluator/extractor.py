"""TFMA extractor: asks the models, and sums up their answers by slice.

TFMA works on one extract at a time in Python. So one extract stands for all queries of a chunk that fall into the same
slices, and carries statistics that add up: 20,000 queries become a few hundred extracts, and no metric is any different
for it. The price: what TFMA itself counts by extract (`min_slice_size`, its own bootstrap) is of no use here; the
Evaluator counts queries instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from apache_beam.utils import shared
from scipy import sparse

from components.evaluator.answers import Answers, JudgedModel, Models
from components.evaluator.bootstrap import user_weights
from components.evaluator.items import Items
from components.evaluator.settings import EvaluatorSettings
from components.examples import reading
from components.hashing import hashes
from components.metrics import METRICS
from components.metrics.metric import Lists
from components.metrics.ranks import rank_counts
from components.metrics.tfma_metrics import LEFT_OUT, RANK_COUNTS, STATISTICS_KEY, USERS, exposure

HISTORY_LENGTH = "history_length"
ITEM_POPULARITY = "item_popularity"
MISSING = b"(missing)"
"""Value of a slice's feature where the event has none."""
REQUESTS = 16
"""How many requests go into one chunk of queries."""

_BANDS = np.array([b"0", b"1-4", b"5-19", b"20+"], dtype=object)
_BAND_STARTS = [1, 5, 20]


def history_bands(lengths: np.ndarray) -> np.ndarray:
    """Returns the band of each history length: [N] bytes, one of 0, 1-4, 5-19, 20+."""
    return _BANDS[np.digitize(lengths, _BAND_STARTS)]


def slice_features(settings: EvaluatorSettings) -> list[str]:
    """Returns the features that the slices are made from, each once."""
    return sorted({name for columns in settings.slices for name in columns})


def users_that_count(settings: EvaluatorSettings) -> int:
    """Returns up to how many users of a slice are told apart: one alone has no interval, and a few make no slice."""
    return max(2, settings.min_slice_size)


def answer_extractor(
    models: Mapping[str, JudgedModel], fitted: str, settings: EvaluatorSettings, exclude: str | list[str]
) -> Any:
    """Makes the extractor.

    Its input are extracts with a RecordBatch of queries, its output extracts with the slices' features and each model's
    and baseline's statistics.

    Args:
        models: name to model.
        fitted: directory with the saved items and baselines.
        settings: what is measured.
        exclude: what the baselines leave out of their answers.
    """
    return tfma.extractors.Extractor(
        stage_name="ExtractAnswers", ptransform=beam.ParDo(_ExtractAnswers(models, fitted, settings, exclude))
    )


def release_models() -> None:
    """Lets go of the models that the last pipeline loaded into this process.

    Beam keeps the last shared object alive until another is asked for; so one is.
    """
    shared.Shared().acquire(_Nothing)


class _Nothing:
    """Something that takes no memory; Beam shares what has weak references only."""


class _ExtractAnswers(beam.DoFn):
    def __init__(
        self, models: Mapping[str, JudgedModel], fitted: str, settings: EvaluatorSettings, exclude: str | list[str]
    ):
        self._exclude = exclude
        self._models = models
        self._fitted = fitted
        self._settings = settings
        self._features = slice_features(settings)
        self._shared = shared.Shared()
        self._loaded: Any = None

    def setup(self) -> None:
        self._loaded = self._shared.acquire(self._load)

    def _load(self) -> Models:
        kept = max(self._settings.list_ks, default=0)
        return Models(self._models, self._fitted, self._settings.depth, kept, self._exclude)

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
        answers = self._loaded.ask(batch, self._settings.batch_size)
        users = reading.scalars(batch, "user_id")
        weights, number = user_weights(users, self._settings.bootstrap_replicates), hashes(users)
        items = self._loaded.items
        for values, group in _groups(self._slice_values(batch, items), batch.num_rows):
            yield {
                tfma.FEATURES_KEY: {name: np.array([value]) for name, value in zip(self._features, values)},
                STATISTICS_KEY: {
                    name: {
                        USERS: np.unique(number[group])[: users_that_count(self._settings)],
                        **statistics(answer.take(group), weights[group], items, self._settings),
                    }
                    for name, answer in answers.items()
                },
            }

    def _slice_values(self, batch: Any, items: Items) -> list[np.ndarray]:
        """Returns each slice feature's values, [B] bytes."""
        made = {
            HISTORY_LENGTH: lambda: history_bands(np.diff(reading.ragged(batch, "history")[1])),
            ITEM_POPULARITY: lambda: items.bands(items.rows(reading.scalars(batch, "item_id"))),
        }
        return [made[name]() if name in made else reading.scalars(batch, name, MISSING) for name in self._features]


def statistics(answers: Answers, weights: np.ndarray, items: Items, settings: EvaluatorSettings) -> dict[str, Any]:
    """Sums up a model's answers: all that the metrics need, in arrays that add up.

    Args:
        answers: the answers to B queries.
        weights: [B, R + 1] how often each query counts.
        items: the items of the catalogue.
        settings: what is measured.

    Returns:
        Rank counts [R + 1, depth + 1]; how many queries are of items that no answer can hold, and how many there are,
        [2]; for each k of `list_ks` the exposure [1, N], sparse; and for each metric that is
        a mean over answers its sum and the number of answers that have a value, [2].
    """
    found: dict[str, Any] = {
        RANK_COUNTS: rank_counts(answers.ranks, settings.depth, weights),
        LEFT_OUT: np.array([np.count_nonzero(answers.left_out), len(answers.left_out)]),
    }
    for k in settings.list_ks:
        rows = answers.rows[:, :k]
        lists = Lists(rows, items.events, items.features, answers.past)
        for metric in METRICS.values():
            if metric.of == "answer" and (items.features is not None or not metric.by_features):
                values = metric.compute(lists)
                found[f"{metric.name}@{k}"] = np.array([np.nansum(values), np.count_nonzero(~np.isnan(values))])
        recommended = rows[rows >= 0]
        ones = np.ones(len(recommended), np.int64)
        found[exposure(k)] = sparse.csr_array((ones, (np.zeros_like(recommended), recommended)), (1, len(items.ids)))
    return found


def _groups(columns: list[np.ndarray], rows: int) -> Iterator[tuple[tuple[bytes, ...], np.ndarray]]:
    """Yields each combination of the columns' values that occurs, with the numbers of its rows."""
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for row, values in enumerate(zip(*columns) if columns else [()] * rows):
        groups.setdefault(values, []).append(row)
    for values, members in groups.items():
        yield values, np.array(members)
