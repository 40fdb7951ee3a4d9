"""Runs as the metadata remember them."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.errors import InputError
from pipeline.metadata import open_store
from pipeline.report import history
from tests.pipeline.report.store import Execution, Store, sqlite

DAY = "2026-01-0{}T03:04:05.678901"


@pytest.fixture
def made(tmp_path: Path) -> Store:
    """Three runs: the first pushed a version, the second had nothing new, the third failed."""
    store = Store(tmp_path)
    first = store.execute(DAY.format(1), "InteractionGen", settings="{}", input_fingerprint="abc")
    [examples] = store.store.put_artifacts([metadata_store_pb2.Artifact(type_id=store._pushed_type, uri="/examples")])
    store.output(first, "examples", examples)
    store.push(DAY.format(1), "20260101030405", 1)
    cached = store.execute(DAY.format(2), "InteractionGen", Execution.CACHED, settings='{"a": 1}')
    store.output(cached, "examples", examples)
    store.push(DAY.format(2), "20260101030405", 0)
    store.execute(DAY.format(3), "InteractionGen", Execution.FAILED)
    return store


def test_a_run_has_its_nodes_with_states_settings_and_outputs(made: Store) -> None:
    run = history.read_run(made.history, DAY.format(1))
    assert list(run.nodes) == ["InteractionGen", "Pusher"]
    node = run.nodes["InteractionGen"]
    assert (node.state, node.settings) == ("done", {"settings": "{}", "input_fingerprint": "abc"})
    assert node.outputs["examples"].uri == "/examples"
    assert abs(datetime.datetime.now(datetime.timezone.utc) - node.started) < datetime.timedelta(minutes=5)
    assert run.version == "20260101030405"
    assert run.stopped_at is None


def test_a_node_from_the_cache_knows_what_the_driver_found_when_it_was_made(made: Store) -> None:
    node = history.read_run(made.history, DAY.format(2)).nodes["InteractionGen"]
    assert node.state == "cached"
    assert node.settings == {"settings": '{"a": 1}', "input_fingerprint": "abc"}


def test_the_newest_run_is_meant_where_none_is_named(made: Store) -> None:
    assert history.find_run(made.history).id == DAY.format(3)


def test_a_version_stands_for_the_run_that_published_it(made: Store) -> None:
    assert history.find_run(made.history, "20260101030405").id == DAY.format(1)  # not the one that found it there


def test_a_run_is_found_by_how_its_id_begins(made: Store) -> None:
    assert history.find_run(made.history, "2026-01-02").id == DAY.format(2)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("2026-01", ("3 runs begin so", DAY.format(1), DAY.format(3))),
        ("2026", ("3 runs begin so",)),
        ("yesterday", ("yesterday: no such run", DAY.format(3))),
        ("20990101000000", ("version 20990101000000", "20260101030405", "--set output")),
        ("", ("3 runs begin so",)),
    ],
)
def test_what_is_not_there_is_said_with_what_is(made: Store, wanted: str, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as raised:
        history.find_run(made.history, wanted)
    for word in words:
        assert word in str(raised.value)


def test_no_metadata_and_no_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file.*recommender run"):
        open_store(sqlite(tmp_path / "metadata.sqlite"))
    with pytest.raises(InputError, match="no run yet"):
        history.find_run(Store(tmp_path).history)


def test_why_a_node_failed_is_remembered(made: Store) -> None:
    run = history.read_run(made.history, DAY.format(3))
    assert run.stopped_at is not None
    assert run.stopped_at.state == "failed"
    history.note_failure(made.history, run, "rows 3 and 5: no user")
    again = history.read_run(made.history, DAY.format(3))
    assert again.nodes["InteractionGen"].failure == "rows 3 and 5: no user"
    assert "failure" not in again.nodes["InteractionGen"].settings
    assert history.read_run(made.history, DAY.format(1)).nodes["InteractionGen"].failure == ""
    assert again.output("InteractionGen", "examples") is None


def test_a_run_that_was_killed_stopped_in_the_middle_of_a_node(made: Store) -> None:
    made.execute(DAY.format(4), "Trainer", Execution.RUNNING)
    stopped = history.find_run(made.history).stopped_at
    assert stopped is not None
    assert (stopped.name, stopped.state, stopped.complete) == ("Trainer", "stopped", False)


def test_runs_and_versions_of_other_pipelines_in_the_store_are_not_ours(made: Store) -> None:
    kind = made.store.put_context_type(metadata_store_pb2.ContextType(name="pipeline"))
    shop, other = made.store.put_contexts(
        [metadata_store_pb2.Context(type_id=kind, name=name) for name in ("shop", "other")]
    )

    def belong(context: int, executions: list[int]) -> None:
        links = [metadata_store_pb2.Association(execution_id=number, context_id=context) for number in executions]
        made.store.put_attributions_and_associations([], links)

    belong(shop, [execution.id for execution in made.store.get_executions()])
    before = history.run_ids(made.history)
    own = {execution.id for execution in made.store.get_executions()}
    made.pipeline = "other"
    made.push(DAY.format(9), "20260109030405", 1)
    belong(other, [execution.id for execution in made.store.get_executions() if execution.id not in own])

    of_other = history.History(made.store, "other")
    assert history.run_ids(made.history) == before
    assert history.run_ids(of_other) == [DAY.format(9)]
    assert history.run_ids(history.History(made.store, "neither")) == []
    assert history.find_run(of_other, "20260109030405").id == DAY.format(9)
    with pytest.raises(InputError, match="no run here pushed it"):
        history.find_run(made.history, "20260109030405")


def test_what_only_hands_on_an_artifact_is_no_node(made: Store) -> None:
    store = made.store
    context = store.get_context_by_type_and_name("pipeline_run", DAY.format(1))
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="importer"))
    execution = metadata_store_pb2.Execution(type_id=kind, last_known_state=Execution.COMPLETE)
    store.put_execution(execution, [], [context])
    assert list(history.read_run(made.history, DAY.format(1)).nodes) == ["InteractionGen", "Pusher"]
