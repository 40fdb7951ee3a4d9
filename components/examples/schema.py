"""The schemas of the examples, made from the settings: what ExampleValidator holds the data to and Transform parses."""

from collections.abc import Mapping
from typing import Optional

from tensorflow_metadata.proto.v0 import schema_pb2

from components.catalogue_gen.settings import CatalogueSettings
from components.interaction_gen.settings import InteractionSettings
from components.tables.features import Feature

_DERIVED = frozenset({"history", "seen"})


def interaction_schema(settings: InteractionSettings) -> schema_pb2.Schema:
    """Returns the schema of InteractionGen's examples.

    Features that every Example has are dense, of shape [1]; the others (side features, `history`, and `seen` and
    `user_type`, which only the split eval has) are of any length.
    """
    schema = schema_pb2.Schema()
    _required(schema, "user_id", schema_pb2.BYTES)
    _required(schema, "item_id", schema_pb2.BYTES)
    _required(schema, "timestamp", schema_pb2.INT)
    _limit(_required(schema, "weight", schema_pb2.FLOAT), 0.0, None)
    if settings.columns.rating is not None:
        lowest, highest = settings.rating_range or (None, None)
        _limit(_required(schema, "rating", schema_pb2.FLOAT), lowest, highest)
    if settings.columns.event is not None:
        event = _required(schema, "event", schema_pb2.BYTES)
        if settings.event_weights:
            event.string_domain.value.extend(settings.event_weights)
    users = settings.users.features if settings.users is not None else {}
    _side_features(schema, {**settings.features, **users})
    schema.feature.add(name="history", type=schema_pb2.BYTES)
    schema.feature.add(name="seen", type=schema_pb2.BYTES)
    user_type = schema.feature.add(name="user_type", type=schema_pb2.BYTES)
    user_type.string_domain.value.extend(["known", "new"])
    return schema


def catalogue_schema(settings: CatalogueSettings) -> schema_pb2.Schema:
    """Returns the schema of CatalogueGen's examples: `item_id` and `display` dense, of shape [1], all else optional."""
    schema = schema_pb2.Schema()
    _required(schema, "item_id", schema_pb2.BYTES)
    _required(schema, "display", schema_pb2.BYTES)
    _side_features(schema, settings.features)
    return schema


def stats_features(schema: schema_pb2.Schema) -> list[str]:
    """Returns the features that StatisticsGen should look at: all but the long ones that are derived from others."""
    return [feature.name for feature in schema.feature if feature.name not in _DERIVED]


def _required(schema: schema_pb2.Schema, name: str, kind: "schema_pb2.FeatureType.ValueType") -> schema_pb2.Feature:
    feature = schema.feature.add(name=name, type=kind)
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    feature.shape.dim.add(size=1)
    return feature


def _limit(feature: schema_pb2.Feature, lowest: Optional[float], highest: Optional[float]) -> None:
    feature.float_domain.disallow_nan = True
    if lowest is not None:
        feature.float_domain.min = lowest
    if highest is not None:
        feature.float_domain.max = highest


def _side_features(schema: schema_pb2.Schema, features: Mapping[str, Feature]) -> None:
    for name, feature in features.items():
        if feature.type == "number":
            added = schema.feature.add(name=name, type=schema_pb2.FLOAT)
            added.value_count.max = 1
            _limit(added, feature.min, feature.max)
            continue
        added = schema.feature.add(name=name, type=schema_pb2.BYTES)
        if feature.type != "categories":
            added.value_count.max = 1
        if feature.values is not None:
            added.string_domain.value.extend(feature.values)
