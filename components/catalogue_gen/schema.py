"""The schema of CatalogueGen's examples, made from its settings."""

from tensorflow_metadata.proto.v0 import schema_pb2

from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError
from components.examples.schema import add_required, add_side_features
from components.tables.encoders import WIDTHS


def catalogue_schema(settings: CatalogueSettings) -> schema_pb2.Schema:
    """Returns the schema of CatalogueGen's examples: `item_id` and `display` dense, of shape [1], vectors dense, of
    shape [E], all else optional.

    Raises:
        InputError: It isn't known how long given vectors are.
    """
    widths = {name: WIDTHS[encoder] for name, encoder in settings.encoders().items()}
    for name, feature in settings.vectors().items():
        if feature.dim is None:
            raise InputError(
                f"data.catalogue.features.{name}.dim: missing; say how many numbers its vectors have: that is needed "
                "before the data are looked at"
            )
        widths[name] = feature.dim
    schema = schema_pb2.Schema()
    add_required(schema, "item_id", schema_pb2.BYTES)
    add_required(schema, "display", schema_pb2.BYTES)
    add_side_features(schema, {name: f for name, f in settings.features.items() if name not in widths})
    for name, width in widths.items():
        add_required(schema, name, schema_pb2.FLOAT, width)
    return schema
