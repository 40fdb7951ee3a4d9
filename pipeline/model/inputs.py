"""What a training reads of the Transforms' outputs: events, vocabulary and side features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow_transform as tft

from components.examples.reading import matrix, ragged, read_columns, scalars
from pipeline.model.job import Transformed
from pipeline.model.preprocessing import ITEM_COUNTS, ITEM_VOCABULARY, QUERY_PREFIX, TIME_FEATURES, USER_VOCABULARY
from pipeline.model.reading import Log, pad, read_log
from pipeline.model.settings import HoldOut, TrainerSettings
from pipeline.model.towers import ItemFeatures, SideFeature, Vocabulary


@dataclass(frozen=True)
class TrainingData:
    """All that a training needs of the data."""

    events: Log
    vocabulary: Vocabulary
    hold_out: HoldOut
    """Which events are held back for validation."""
    may_repeat: bool = False
    """Whether answers may hold what a user had."""


def read_data(inputs: Transformed, settings: TrainerSettings, whole: bool = True) -> TrainingData:
    """Reads what the two Transforms left, of a whole log or of what is new in it."""
    graph = tft.TFTransformOutput(inputs.transform_graph)
    items, counts = read_vocabulary(graph)
    candidate_features = side_features(settings.features, tft.TFTransformOutput(inputs.catalogue_graph), "")
    query_features = side_features(settings.query_features, graph, QUERY_PREFIX) + tuple(
        SideFeature(name, False, TIME_FEATURES[name][1]) for name in settings.model.time_features
    )
    with_users = settings.model.user_id
    return TrainingData(
        events=read_log(
            inputs.examples,
            settings.max_history,
            query_features,
            with_users,
            settings.training.events_in_memory,
            {name: task.events for name, task in settings.model.tasks.items()},
            whole,
        ),
        vocabulary=Vocabulary(
            counts=counts,
            item_features=read_item_features(inputs.catalogue, candidate_features, items),
            candidate_features=candidate_features,
            query_features=query_features,
            num_users=graph.vocabulary_size_by_name(USER_VOCABULARY) if with_users else 0,
            max_history=settings.max_history,
        ),
        hold_out=settings.hold_out,
        may_repeat=settings.may_repeat,
    )


def side_features(types: Mapping[str, str], graph: tft.TFTransformOutput, prefix: str) -> tuple[SideFeature, ...]:
    """What a tower must know of features, from their types and the vocabularies in `graph`."""

    def feature(name: str, kind: str) -> SideFeature:
        if kind == "number":
            return SideFeature(name, True)
        if kind in ("vector", "embedding"):
            return SideFeature(name, False, width=int(graph.transformed_feature_spec()[prefix + name].shape[0]))
        return SideFeature(name, False, graph.vocabulary_size_by_name(prefix + name))

    return tuple(feature(name, kind) for name, kind in types.items())


def read_vocabulary(graph: tft.TFTransformOutput) -> tuple[list[bytes], np.ndarray]:
    """The items of the training events, most frequent first, and their counts [N] int64."""
    vocabulary = graph.vocabulary_by_name(ITEM_VOCABULARY)
    counts = {}
    for line in graph.vocabulary_by_name(ITEM_COUNTS):
        count, item = line.split(b" ", 1)
        counts[item] = int(count)
    return vocabulary, np.array([counts[item] for item in vocabulary], np.int64)


def read_item_features(catalogue: str, features: tuple[SideFeature, ...], vocabulary: list[bytes]) -> ItemFeatures:
    """The side features of the vocabulary's items, in its order, from the transformed catalogue at URI `catalogue`."""
    types = {f.name: float if f.is_dense else int for f in features}
    table = read_columns(catalogue, "catalogue", {"item_id": bytes, **types})
    row_of = {item: row for row, item in enumerate(scalars(table, "item_id"))}
    rows = np.array([row_of[item] for item in vocabulary])

    def values(feature: SideFeature) -> np.ndarray:
        if feature.width:
            return matrix(*ragged(table, feature.name), feature.width, np.float32(0))
        return scalars(table, feature.name) if feature.is_number else pad(*ragged(table, feature.name))

    return ItemFeatures({f.name: values(f) for f in features}).take(rows)
