"""The schema of CatalogueGen's examples, made from its settings."""

from tensorflow_metadata.proto.v0 import schema_pb2

from components.catalogue_gen.settings import CatalogueSettings
from components.examples.schema import add_required, add_side_features
from components.tables.encoders import WIDTHS


def catalogue_schema(settings: CatalogueSettings) -> schema_pb2.Schema:
    """Returns the schema of CatalogueGen's examples: `item_id` and `display` dense, of shape [1], vectors dense, of
    shape [E], all else optional."""
    schema = schema_pb2.Schema()
    add_required(schema, "item_id", schema_pb2.BYTES)
    add_required(schema, "display", schema_pb2.BYTES)
    encoders = settings.encoders()
    add_side_features(schema, {name: f for name, f in settings.features.items() if name not in encoders})
    for name, encoder in encoders.items():
        add_required(schema, name, schema_pb2.FLOAT, WIDTHS[encoder])
    return schema
