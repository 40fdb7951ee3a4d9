"""The schema of InteractionGen's examples, made from its settings."""

from tensorflow_metadata.proto.v0 import schema_pb2

from components.examples.interactions import PLACE
from components.examples.schema import add_required, add_side_features, limit
from components.interaction_gen.settings import InteractionSettings

_DERIVED = frozenset({"history", "seen"})


def interaction_schema(settings: InteractionSettings) -> schema_pb2.Schema:
    """Returns the schema of InteractionGen's examples.

    Features that every Example has are dense, of shape [1]; the others (side features, `history`, and `seen` and
    `user_type`, which only the split eval has) are of any length.
    """
    schema = schema_pb2.Schema()
    add_required(schema, "user_id", schema_pb2.BYTES)
    add_required(schema, "item_id", schema_pb2.BYTES)
    add_required(schema, "timestamp", schema_pb2.INT)
    add_required(schema, PLACE, schema_pb2.INT)
    limit(add_required(schema, "weight", schema_pb2.FLOAT), 0.0, None)
    if settings.columns.rating is not None:
        lowest, highest = settings.rating_range or (None, None)
        limit(add_required(schema, "rating", schema_pb2.FLOAT), lowest, highest)
    if settings.columns.event is not None:
        event = add_required(schema, "event", schema_pb2.BYTES)
        if settings.weight_of_type:  # an empty domain would allow nothing
            event.string_domain.value.extend(settings.weight_of_type)
    users = settings.users.features if settings.users is not None else {}
    add_side_features(schema, {**settings.features, **users})
    schema.feature.add(name="history", type=schema_pb2.BYTES)
    schema.feature.add(name="seen", type=schema_pb2.BYTES)
    user_type = schema.feature.add(name="user_type", type=schema_pb2.BYTES)
    user_type.string_domain.value.extend(["known", "new"])
    return schema


def stats_features(schema: schema_pb2.Schema) -> list[str]:
    """Returns the features that StatisticsGen should look at: all but the long ones that are derived from others."""
    return [feature.name for feature in schema.feature if feature.name not in _DERIVED]
