"""Events, their statistics, and a schema that they fit."""

import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl

from components.interaction_gen.schema import interaction_schema
from components.interaction_gen.settings import InteractionSettings

SETTINGS = InteractionSettings.model_validate(
    {
        "columns": {"rating": "rating", "event": "event"},
        "rating_range": [1, 5],
        "event_weights": {"buy": 2, "view": 1},
        "features": {"channel": {"type": "category", "values": ["web", "app"]}, "price": {"type": "number", "min": 0}},
    }
)
SCHEMA = interaction_schema(SETTINGS)
ROWS = 100


def columns(**changes):
    """Returns ROWS events as columns; `changes` replaces the first values of a column."""
    full = {
        "user_id": ["u"] * ROWS,
        "item_id": ["i"] * ROWS,
        "timestamp": list(range(ROWS)),
        "#place": [0] * ROWS,
        "weight": [1.0] * ROWS,
        "rating": [float(1 + k % 5) for k in range(ROWS)],
        "event": ["buy", "view"] * (ROWS // 2),
        "channel": ["web", None] * (ROWS // 2),
        "price": [float(k) for k in range(ROWS)],
    }
    for name, values in changes.items():
        full[name] = values + full.get(name, [None] * ROWS)[len(values) :]
    kinds = {
        **dict.fromkeys(("weight", "rating", "price"), pa.float32()),
        **dict.fromkeys(("timestamp", "#place"), pa.int64()),
    }
    return {name: pa.array(values, kinds.get(name, pa.string())) for name, values in full.items()}


def statistics(data):
    arrays = [
        pa.array([None if value is None else [value] for value in column.to_pylist()], pa.list_(column.type))
        for column in data.values()
    ]
    arrays = [a.cast(pa.list_(pa.binary())) if pa.types.is_string(a.type.value_type) else a for a in arrays]
    batch = pa.RecordBatch.from_arrays(arrays, list(data))
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())
