"""What the schemas of examples are made of: what ExampleValidator holds the data to and Transform parses."""

from collections.abc import Mapping
from typing import Optional

from tensorflow_metadata.proto.v0 import schema_pb2

from components.tables.features import Feature


def add_required(
    schema: schema_pb2.Schema, name: str, kind: "schema_pb2.FeatureType.ValueType", size: int = 1
) -> schema_pb2.Feature:
    """Adds a feature of which every Example has `size` values, dense, of shape [size]; returns it."""
    feature = schema.feature.add(name=name, type=kind)
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    feature.shape.dim.add(size=size)
    return feature


def limit(feature: schema_pb2.Feature, lowest: Optional[float], highest: Optional[float]) -> None:
    """Bounds a feature of numbers, either side by choice; NaN is out of bounds."""
    feature.float_domain.disallow_nan = True
    if lowest is not None:
        feature.float_domain.min = lowest
    if highest is not None:
        feature.float_domain.max = highest


def add_side_features(schema: schema_pb2.Schema, features: Mapping[str, Feature]) -> None:
    """Adds the features of the config, any of which an Example may lack."""
    for name, feature in features.items():
        if feature.type == "number":
            added = schema.feature.add(name=name, type=schema_pb2.FLOAT)
            added.value_count.max = 1
            limit(added, feature.min, feature.max)
            continue
        added = schema.feature.add(name=name, type=schema_pb2.BYTES)
        if feature.type != "categories":
            added.value_count.max = 1
        if feature.values is not None:
            added.string_domain.value.extend(feature.values)
