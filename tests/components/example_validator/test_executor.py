"""ExampleValidator: real statistics against real schemas, and the words for what is found."""

import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.errors import InputError
from components.example_validator.anomalies import describe
from components.example_validator.executor import Executor
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
        "weight": [1.0] * ROWS,
        "rating": [float(1 + k % 5) for k in range(ROWS)],
        "event": ["buy", "view"] * (ROWS // 2),
        "channel": ["web", None] * (ROWS // 2),
        "price": [float(k) for k in range(ROWS)],
    }
    for name, values in changes.items():
        full[name] = values + full.get(name, [None] * ROWS)[len(values) :]
    kinds = {"weight": pa.float32(), "rating": pa.float32(), "price": pa.float32(), "timestamp": pa.int64()}
    return {name: pa.array(values, kinds.get(name, pa.string())) for name, values in full.items()}


def statistics(data):
    arrays = [
        pa.array([None if value is None else [value] for value in column.to_pylist()], pa.list_(column.type))
        for column in data.values()
    ]
    arrays = [a.cast(pa.list_(pa.binary())) if pa.types.is_string(a.type.value_type) else a for a in arrays]
    batch = pa.RecordBatch.from_arrays(arrays, list(data))
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())


def found(**changes):
    stats = statistics(columns(**changes))
    return describe(tfdv.validate_statistics(stats, SCHEMA), stats.datasets[0], SCHEMA)


def test_good_data_has_no_anomalies():
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "feature", "count"),
    [
        ({"user_id": [None] * 3}, "user_id: ", "3 of 100 rows lack it"),
        (
            {"channel": ["fax", "fax", "tv"]},
            "channel: unexpected string values: ",
            "3 of 100 rows: 'fax' (2), 'tv' (1)",
        ),
        ({"rating": [9.0, 9.0]}, "rating: out-of-range values: ", "about 2 of 100 rows, from 1 to 9 in all"),
        ({"price": [-7.0]}, "price: out-of-range values: ", "about 1 of 100 rows, from -7 to 99 in all"),
        ({"surprise": ["x"]}, "surprise: new column: ", ""),
    ],
)
def test_an_anomaly_names_feature_fault_and_rows(changes, feature, count):
    (line,) = found(**changes)
    assert line.startswith(feature)
    assert line.endswith(count)


def test_a_column_that_is_not_there_at_all():
    data = columns()
    del data["rating"]
    stats = statistics(data)
    (line,) = describe(tfdv.validate_statistics(stats, SCHEMA), stats.datasets[0], SCHEMA)
    assert line.startswith("rating: ")
    assert line.endswith("100 of 100 rows lack it")


def validate(folder, **eval_changes):
    stats, schema = standard_artifacts.ExampleStatistics(), standard_artifacts.Schema()
    anomalies = standard_artifacts.ExampleAnomalies()
    stats.uri, schema.uri, anomalies.uri = (str(folder / name) for name in ("stats", "schema", "anomalies"))
    stats.split_names = artifact_utils.encode_split_names(["train", "eval"])
    for split, changes in (("train", {}), ("eval", eval_changes)):
        (folder / "stats" / f"Split-{split}").mkdir(parents=True)
        content = statistics(columns(**changes)).SerializeToString()
        (folder / "stats" / f"Split-{split}" / "FeatureStats.pb").write_bytes(content)
    io_utils.write_pbtxt_file(str(folder / "schema" / "schema.pbtxt"), SCHEMA)
    inputs, outputs = {"statistics": [stats], "schema": [schema]}, {"anomalies": [anomalies]}
    return Executor().Do(inputs, outputs, {"exclude_splits": "[]"}), anomalies


def test_the_run_goes_on_without_anomalies(tmp_path):
    result, anomalies = validate(tmp_path)
    assert anomalies.get_string_custom_property("summary") == "no anomalies in 8 features"
    (published,) = result.output_artifacts["anomalies"].artifacts
    assert published.custom_properties["summary"].string_value == "no anomalies in 8 features"


def test_the_run_stops_at_an_anomaly(tmp_path):
    with pytest.raises(InputError) as caught:
        validate(tmp_path, rating=[9.0, 9.0], channel=["fax"])
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("the data doesn't fit the schema")
    assert [line.strip().split(":")[:2] for line in lines] == [["eval", " channel"], ["eval", " rating"]]
    assert (tmp_path / "anomalies" / "Split-eval" / "SchemaDiff.pb").stat().st_size > 0
