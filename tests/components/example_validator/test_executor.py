"""ExampleValidator: the run goes on, or stops at an anomaly."""

import pytest
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.errors import InputError
from components.example_validator.executor import Executor
from tests.components.example_validator.data import SCHEMA, columns, statistics


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
    assert anomalies.get_string_custom_property("summary") == "no anomalies in 9 features"
    (published,) = result.output_artifacts["anomalies"].artifacts
    assert published.custom_properties["summary"].string_value == "no anomalies in 9 features"


def test_the_run_stops_at_an_anomaly(tmp_path):
    with pytest.raises(InputError) as caught:
        validate(tmp_path, rating=[9.0, 9.0], channel=["fax"])
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("the data doesn't fit the schema")
    assert [line.strip().split(":")[:2] for line in lines] == [["eval", " channel"], ["eval", " rating"]]
    assert (tmp_path / "anomalies" / "Split-eval" / "SchemaDiff.pb").stat().st_size > 0
