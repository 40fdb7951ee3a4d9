"""What the schema asks of interactions, and that stock Transform parses it."""

import tensorflow as tf
from tensorflow_transform.tf_metadata import schema_utils

from components.interaction_gen.schema import interaction_schema, stats_features
from components.interaction_gen.settings import InteractionSettings
from tests.components.interaction_gen.schema_settings import SETTINGS


def test_the_feature_spec_of_interactions():
    spec = schema_utils.schema_as_feature_spec(interaction_schema(SETTINGS)).feature_spec
    dense, floats, integers = (tf.io.FixedLenFeature([1], kind) for kind in (tf.string, tf.float32, tf.int64))
    text = tf.io.VarLenFeature(tf.string)
    assert spec == {
        "user_id": dense,
        "item_id": dense,
        "timestamp": integers,
        "#place": integers,
        "weight": floats,
        "rating": floats,
        "event": dense,
        "price": tf.io.VarLenFeature(tf.float32),
        "channel": text,
        "tags": text,
        "about": text,
        "history": text,
        "seen": text,
        "user_type": text,
    }


def test_the_domains():
    features = {feature.name: feature for feature in interaction_schema(SETTINGS).feature}
    assert (features["rating"].float_domain.min, features["rating"].float_domain.max) == (1, 5)
    assert features["price"].float_domain.min == 0
    assert not features["price"].float_domain.HasField("max")
    assert list(features["event"].string_domain.value) == ["buy", "view"]
    assert list(features["channel"].string_domain.value) == ["web", "app"]
    assert list(features["user_type"].string_domain.value) == ["known", "new"]


def test_types_of_events_without_weights_are_as_they_are():
    settings = InteractionSettings.model_validate({"columns": {"event": "event"}})
    [event] = [feature for feature in interaction_schema(settings).feature if feature.name == "event"]
    assert not event.HasField("string_domain")


def test_statistics_leave_out_what_is_derived():
    assert stats_features(interaction_schema(InteractionSettings())) == [
        "user_id",
        "item_id",
        "timestamp",
        "#place",
        "weight",
        "user_type",
    ]
