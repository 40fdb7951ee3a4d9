"""What schemas are made of."""

from tensorflow_metadata.proto.v0 import schema_pb2

from components.examples.schema import add_required, add_side_features, limit
from components.tables.features import Feature


def test_a_required_feature_is_there_once_in_each_example():
    schema = schema_pb2.Schema()
    added = add_required(schema, "item_id", schema_pb2.BYTES)
    assert schema.feature[0] == added
    assert (added.name, added.type) == ("item_id", schema_pb2.BYTES)
    assert (added.presence.min_fraction, added.presence.min_count) == (1, 1)
    assert [dim.size for dim in added.shape.dim] == [1]


def test_limits_on_either_side_or_none():
    for lowest, highest in ((None, None), (0.0, None), (None, 5.0), (-1.0, 1.0)):
        feature = schema_pb2.Feature(type=schema_pb2.FLOAT)
        limit(feature, lowest, highest)
        domain = feature.float_domain
        assert domain.disallow_nan
        assert (domain.min if domain.HasField("min") else None) == lowest
        assert (domain.max if domain.HasField("max") else None) == highest


def test_side_features_by_type():
    schema = schema_pb2.Schema()
    features = {
        "price": Feature(type="number", min=0),
        "channel": Feature(type="category", values=("web", "app")),
        "tags": Feature(type="categories"),
        "about": Feature(type="text"),
    }
    add_side_features(schema, features)
    price, channel, tags, about = schema.feature
    assert [feature.name for feature in schema.feature] == list(features)
    assert [feature.type for feature in schema.feature] == [schema_pb2.FLOAT, *[schema_pb2.BYTES] * 3]
    assert [feature.value_count.max for feature in schema.feature] == [1, 1, 0, 1], "categories are any number"
    assert price.float_domain.min == 0
    assert list(channel.string_domain.value) == ["web", "app"]
    assert not tags.HasField("string_domain")
    assert not about.HasField("presence"), "an Example may lack any of them"
