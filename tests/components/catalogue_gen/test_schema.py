"""What the schema asks of a catalogue, and that stock Transform parses it."""

import pytest
import tensorflow as tf
from tensorflow_transform.tf_metadata import schema_utils

from components.catalogue_gen.schema import catalogue_schema
from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError


def test_the_feature_spec_of_a_catalogue():
    about = {"type": "text", "column": "t", "encoder": "wordllama"}
    settings = CatalogueSettings.model_validate(
        {
            "features": {
                "year": {"type": "number"},
                "about": about,
                "t": {"type": "text"},
                "v": {"type": "vector", "dim": 3},
            }
        }
    )
    assert schema_utils.schema_as_feature_spec(catalogue_schema(settings)).feature_spec == {
        "item_id": tf.io.FixedLenFeature([1], tf.string),
        "display": tf.io.FixedLenFeature([1], tf.string),
        "year": tf.io.VarLenFeature(tf.float32),
        "t": tf.io.VarLenFeature(tf.string),
        "about": tf.io.FixedLenFeature([256], tf.float32),
        "v": tf.io.FixedLenFeature([3], tf.float32),
    }


def test_vectors_of_unknown_length():
    settings = CatalogueSettings.model_validate({"features": {"v": {"type": "vector"}}})
    with pytest.raises(InputError, match=r"data\.catalogue\.features\.v\.dim: missing; say how many numbers"):
        catalogue_schema(settings)
