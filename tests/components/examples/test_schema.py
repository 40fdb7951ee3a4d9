"""Schemas: what they ask of the data, and that stock Transform parses it."""

import tensorflow as tf
from tensorflow_transform.tf_metadata import schema_utils
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from components.catalogue_gen.schema import catalogue_schema
from components.catalogue_gen.settings import CatalogueSettings
from components.interaction_gen.schema import interaction_schema, stats_features
from components.interaction_gen.settings import InteractionSettings
from components.schema_gen.component import Executor, ImportSchemaGen

SETTINGS = InteractionSettings.model_validate(
    {
        "columns": {"rating": "stars", "event": "kind"},
        "rating_range": [1, 5],
        "event_weights": {"buy": 2, "view": 1},
        "features": {
            "price": {"type": "number", "min": 0},
            "channel": {"type": "category", "values": ["web", "app"]},
            "tags": {"type": "categories"},
        },
        "users": {"features": {"about": {"type": "text"}}},
    }
)


def test_the_feature_spec_of_interactions():
    spec = schema_utils.schema_as_feature_spec(interaction_schema(SETTINGS)).feature_spec
    dense, floats, integers = (tf.io.FixedLenFeature([1], kind) for kind in (tf.string, tf.float32, tf.int64))
    text = tf.io.VarLenFeature(tf.string)
    assert spec == {
        "user_id": dense,
        "item_id": dense,
        "timestamp": integers,
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


def test_the_feature_spec_of_a_catalogue():
    settings = CatalogueSettings.model_validate({"features": {"year": {"type": "number"}, "t": {"type": "text"}}})
    assert schema_utils.schema_as_feature_spec(catalogue_schema(settings)).feature_spec == {
        "item_id": tf.io.FixedLenFeature([1], tf.string),
        "display": tf.io.FixedLenFeature([1], tf.string),
        "year": tf.io.VarLenFeature(tf.float32),
        "t": tf.io.VarLenFeature(tf.string),
    }


def test_statistics_leave_out_what_is_derived():
    assert stats_features(interaction_schema(InteractionSettings())) == [
        "user_id",
        "item_id",
        "timestamp",
        "weight",
        "user_type",
    ]


def test_the_node_writes_its_schema(tmp_path):
    schema = interaction_schema(SETTINGS)
    node = ImportSchemaGen(schema)
    artifact = standard_artifacts.Schema()
    artifact.uri = str(tmp_path)
    Executor().Do({}, {"schema": [artifact]}, node.exec_properties)
    assert io_utils.SchemaReader().read(str(tmp_path / "schema.pbtxt")) == schema
    assert artifact.get_string_custom_property("summary") == f"{len(schema.feature)} features, from the config"
    # What decides the cache's answer is the schema, and nothing of this machine.
    assert node.exec_properties == ImportSchemaGen(interaction_schema(SETTINGS)).exec_properties
    assert node.exec_properties != ImportSchemaGen(interaction_schema(InteractionSettings())).exec_properties
