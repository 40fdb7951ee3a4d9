"""The schema of CatalogueGen's examples, made from its settings."""

from tensorflow_metadata.proto.v0 import schema_pb2

from components.catalogue_gen.settings import CatalogueSettings
from components.examples.schema import add_required, add_side_features


def catalogue_schema(settings: CatalogueSettings) -> schema_pb2.Schema:
    """Returns the schema of CatalogueGen's examples: `item_id` and `display` dense, of shape [1], all else optional."""
    schema = schema_pb2.Schema()
    add_required(schema, "item_id", schema_pb2.BYTES)
    add_required(schema, "display", schema_pb2.BYTES)
    add_side_features(schema, settings.features)
    return schema
