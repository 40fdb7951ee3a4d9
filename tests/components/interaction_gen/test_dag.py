"""The data nodes as a real TFX pipeline: artifacts, schema, anomalies and the cache."""

import csv
import os
import random

import pytest

pytestmark = pytest.mark.slow

BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=unused"]  # an image given spares TFX packing itself


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([header, *rows])


def write_log(path, days=10, rating=None):
    """30 users, 10 events each, one a day; 300 rows."""
    chance = random.Random(7)
    rows = [
        [f"u{user}", f"i{chance.randrange(40)}", rating or chance.randint(1, 5), 86_400 * day + user]
        for day in range(days)
        for user in range(30)
    ]
    write_csv(path, ["user_id", "item_id", "rating", "timestamp"], rows)


@pytest.fixture
def data(tmp_path):
    write_log(tmp_path / "log.csv")
    write_csv(
        tmp_path / "items.csv",
        ["item_id", "title", "genres"],
        [[f"i{item}", f"Item, no. {item}", "a|b"] for item in range(39)],
    )
    return tmp_path


def run(folder, rating_range=(1, 5)):
    """Runs the nodes; returns by node the state ("COMPLETE" or "CACHED") and the summary of the newest run."""
    import tensorflow_data_validation as tfdv
    from ml_metadata.proto import metadata_store_pb2
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local import local_dag_runner

    from components.catalogue_gen.component import CatalogueGen
    from components.catalogue_gen.settings import CatalogueSettings
    from components.example_validator.component import ExampleValidator
    from components.interaction_gen.component import InteractionGen
    from components.interaction_gen.schema import interaction_schema, stats_features
    from components.interaction_gen.settings import InteractionSettings
    from components.schema_gen.component import ImportSchemaGen

    settings = InteractionSettings.model_validate({"columns": {"rating": "rating"}, "rating_range": rating_range})
    schema = interaction_schema(settings)
    interactions = InteractionGen(str(folder / "log.csv"), settings)
    catalogue = CatalogueGen(
        interactions.outputs["examples"],
        CatalogueSettings.model_validate({"display": "{title}", "features": {"genres": {"type": "categories"}}}),
        str(folder / "items.csv"),
    )
    statistics = StatisticsGen(
        interactions.outputs["examples"], stats_options=tfdv.StatsOptions(feature_allowlist=stats_features(schema))
    )
    imported = ImportSchemaGen(schema)
    validator = ExampleValidator(statistics.outputs["statistics"], imported.outputs["schema"])
    config = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))
    local_dag_runner.LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="data",
            pipeline_root=str(folder / "root"),
            components=[interactions, catalogue, statistics, imported, validator],
            enable_cache=True,
            metadata_connection_config=config,
            beam_pipeline_args=BEAM_ARGS,
        )
    )
    results = {}
    with metadata.Metadata(config) as handle:
        store = handle.store
        types = {kind.id: kind.name.rsplit(".", 1)[-1] for kind in store.get_execution_types()}
        for execution in sorted(store.get_executions(), key=lambda execution: execution.id):
            state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
            outputs = [
                event.artifact_id
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type == metadata_store_pb2.Event.OUTPUT
            ]
            artifacts = store.get_artifacts_by_id(outputs)
            summaries = [each.custom_properties["summary"].string_value for each in artifacts]
            results[types[execution.type_id]] = (state, "".join(summaries), [each.uri for each in artifacts])
    return results


def test_a_pipeline_of_the_data_nodes(data):
    from components.errors import InputError

    first = run(data)
    assert {node: state for node, (state, _, _) in first.items()} == dict.fromkeys(first, "COMPLETE")
    assert first["InteractionGen"][1] == (
        "300 rows read: 240 train, 60 eval (cut 1970-01-09 00:00:00 UTC), 8 of them of items that their "
        "users had; dropped 0; rejected 0; "
        "warning: times begin before 1990 (1970-01-01 00:00:00 to 1970-01-10 00:00:29): are timestamp_unit, "
        "timestamp_format and timezone right?"
    )
    assert first["CatalogueGen"][1] == (
        "40 items: 39 listed (0 of them never seen in the log), 1 only in the log; rejected 0"
    )
    assert first["ExampleValidator"][1] == "no anomalies in 7 features"

    os.utime(data / "log.csv", (1, 1))  # touched, not changed
    second = run(data)
    assert {node: state for node, (state, _, _) in second.items()} == dict.fromkeys(second, "CACHED")
    assert second["InteractionGen"][1] == first["InteractionGen"][1]

    write_log(data / "log.csv", days=9)
    third = run(data)
    assert third["InteractionGen"][0] == "COMPLETE"
    assert third["InteractionGen"][1].startswith("270 rows read: 216 train, 54 eval")
    assert third["ImportSchemaGen"][0] == "CACHED"

    write_log(data / "log.csv", rating=7)
    with pytest.raises(InputError, match=r"train: rating: .*about 240 of 240 rows") as caught:
        run(data)
    assert "eval: rating: " in str(caught.value)

    (data / "log.csv").unlink()
    with pytest.raises(InputError, match=r"there is no file .*log\.csv"):
        run(data)
