"""`recommender run` on the small world: the whole DAG, again, in parts, with new data, not blessed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from components.artifacts import NOT_SHIPPED
from components.evaluation_report import load_report
from components.pusher.origin import read_origin
from components.versions import release
from pipeline.local.reproduce import find_differences
from pipeline.nodes import SHIPPING
from tests.e2e.conftest import Small, Watch, executions, fingerprint, store
from tests.e2e.world import NODES, Ended, Event, recommender, run, versions, write_log

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
NOISE = ("WARNING", "absl", "TF-TRT", "CUDA", "oneDNN", "eprecat", "Warning", "INFO", "Traceback", "ERROR")


@pytest.mark.smoke
def test_terminal_shows_each_node_and_no_chatter(first_run: Small) -> None:
    ended = first_run.ended
    assert sorted(line.node for line in ended.lines) == sorted(NODES)
    for line in ended.lines:
        assert (line.state, bool(line.summary)) == ("done", True), line
    assert not [word for word in NOISE if word in ended.text]
    assert ended.stderr.strip() == ""
    summaries = {line.node: line.summary for line in ended.lines}
    rows = len(first_run.world.events)
    assert f"{rows:,} rows read" in summaries["InteractionGen"]
    assert "dropped 5 (5 duplicates); rejected 0" in summaries["InteractionGen"]
    assert "62 items: 60 listed (2 of them never seen in the log), 2 only in the log" in summaries["CatalogueGen"]
    assert "item_id 60" in summaries["Transform"]
    assert re.search(r"epochs: \d+ \(validation hit@10 0\.\d+", summaries["Trainer"])
    assert "first version" in summaries["Champion"]
    assert "popularity" in summaries["Evaluator"]
    assert str(versions(first_run.folder)[0]) in summaries["Pusher"]


@pytest.mark.smoke
def test_frameworks_write_to_the_log_that_is_named(first_run: Small) -> None:
    found = re.search(r"log in (\S+\.log)", first_run.ended.stdout)
    assert found
    log = Path(found[1]).read_text(encoding="utf-8")
    assert "INFO" in log
    assert "MetadataStore" in log


@pytest.mark.smoke
def test_metric_table_has_the_report_in_it(first_run: Small) -> None:
    report = load_report(first_run.artifact("Evaluator", "evaluation").uri)
    rows = [re.split("  +", line) for line in first_run.ended.stdout.split("\n")]
    shown = {row[0]: row[1:] for row in rows if len(row) > 2}
    for metric, name in (("hit_rate@1", "hit@1"), ("hit_rate@10", "hit@10"), ("ndcg@10", "NDCG@10"), ("mrr", "MRR")):
        figures = [report.metrics[model]["overall"][metric] for model in ("candidate", "popularity")]
        low, high = report.intervals["candidate"]["overall"][metric]
        assert shown[name][:2] == [f"{figures[0]:.4f} ±{(high - low) / 2:.4f}", f"{figures[1]:.4f}"]
        assert figures[0] > figures[1]
    # What comes next follows from what came before, so a model that has learned it is far ahead.
    assert report.metrics["candidate"]["overall"]["mrr"] > 1.5 * report.metrics["popularity"]["overall"]["mrr"]


@pytest.mark.smoke
def test_every_node_is_complete_in_the_metadata(first_run: Small) -> None:
    from ml_metadata.proto import metadata_store_pb2

    found = executions(first_run.root)
    assert sorted(found) == sorted(NODES)
    for node, runs in found.items():
        states = [metadata_store_pb2.Execution.State.Name(execution.last_known_state) for execution in runs]
        assert states == ["COMPLETE"], node


@pytest.mark.smoke
def test_pushed_model_leads_back_to_both_tables(first_run: Small) -> None:
    from ml_metadata.proto import metadata_store_pb2

    metadata = store(first_run.root)
    [pushed] = metadata.get_artifacts_by_type("PushedModel")
    node_of = {execution.id: node for node, runs in executions(first_run.root).items() for execution in runs}
    made_by: dict[int, int] = {}
    used_by: dict[int, list[int]] = {}
    for event in metadata.get_events_by_execution_ids(list(node_of)):
        if event.type == metadata_store_pb2.Event.OUTPUT:
            made_by[event.artifact_id] = event.execution_id
        else:
            used_by.setdefault(event.execution_id, []).append(event.artifact_id)
    todo, lineage = [pushed.id], set()
    while todo:
        artifact = todo.pop()
        if artifact not in lineage:
            lineage.add(artifact)
            todo += used_by.get(made_by[artifact], [])
    nodes = {node_of[made_by[artifact]] for artifact in lineage}
    # This one only looks on.
    assert nodes == {*NODES} - {"ExampleValidator"}
    examples = {
        node_of[made_by[artifact.id]]
        for artifact in metadata.get_artifacts_by_id(list(lineage))
        if artifact.type == "Examples"
    }
    assert examples >= {"InteractionGen", "CatalogueGen"}


@pytest.mark.smoke
def test_version_is_a_saved_model_with_the_contract(first_run: Small) -> None:
    import tensorflow as tf

    [version] = versions(first_run.folder)
    assert not first_run.unloadable
    assert [path.name for path in version.parent.iterdir()] == [version.name]
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == {
        "recommend",
        "recommend_examples",
        "recommend_leaving_out",
        "recommend_examples_leaving_out",
        "recommend_with_rules",
        "similar_items",
        "similar_items_with_rules",
        "score",
        "explain",
        "by_user",
        "serving_default",
        "describe",
        "embed_items",
        "embed_queries",
        "retrieve",
    }
    manifest = json.loads((version / "assets.extra" / "recommender.json").read_text(encoding="utf-8"))
    assert (manifest["model_name"], manifest["num_items"], manifest["dim"]) == ("small", 62, 16)
    assert (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


@pytest.mark.smoke
def test_a_version_carries_all_that_it_could_be_made_again_by(first_run: Small) -> None:
    made = read_origin(versions(first_run.folder)[0])
    read = {what: [Path(file["path"]).name for file in files] for what, files in made["files"].items()}
    assert read == {"interactions": ["interactions.csv"], "users": ["users.csv"], "catalogue": ["items.csv"]}
    assert made["code"].keys() == set(NODES) - {"StatisticsGen"}  # which runs nothing of ours
    assert find_differences(made) == []


def test_again_pushes_nothing_new_even_after_cleaning_up(small: Small) -> None:
    before = versions(small.folder)
    cleaned = recommender(small.folder, "gc", "--config", "config.yaml", "--runs", "1")
    assert cleaned.code == 0, cleaned.text
    ended = run(small.folder)
    assert ended.code == 0, ended.text
    states = ended.states()
    # There is a version now that the data are held against.
    assert states == {**dict.fromkeys(NODES, "cached"), "Guards": "done", "Pusher": "done"}
    assert f"nothing new: version {before[0].name} already serves this model" in ended.stdout
    assert versions(small.folder) == before
    # What a cached node made is told again.
    made = {line.node: line.summary for line in small.ended.lines if states[line.node] == "cached"}
    assert {line.node: line.summary for line in ended.lines if line.state == "cached"} == made


def test_bad_new_data_stops_and_mended_data_make_a_second_version(small: Small) -> None:
    before = versions(small.folder)
    events = list(small.world.events)
    last = max(event.time for event in events)
    known = small.world.users[0]
    more = [Event(known, item, last + 60 * place, 4) for place, item in enumerate(small.world.items[:40], 1)]

    write_log(small.folder / "data" / "interactions.csv", [*events, *more[:-1], Event(known, more[-1].item, last, 9)])
    ended = run(small.folder)
    assert ended.code == 2, ended.text
    assert ended.states()["ExampleValidator"] == "failed"
    assert "Pusher" not in ended.states()
    message = ended.stdout.partition("error: ")[2]
    assert re.search(r"rating: .*high value: 9>5.*\b1 of [\d,]+ rows, from 1 to 9 in all", message), message
    assert "mend the data or the settings" in message
    assert "Traceback" not in ended.text
    assert versions(small.folder) == before

    write_log(small.folder / "data" / "interactions.csv", [*events, *more])
    changes = ("evaluation.thresholds={hit_rate@10: {beat_popularity: true, max_drop: 0.5}}", "guards.max_size=1")
    # The world's evaluation is of few users.
    settings = [word for change in (*changes, "evaluation.min_slice_size=20") for word in ("--set", change)]
    ended = run(small.folder, *settings)
    assert ended.code == 3, ended.text
    assert (ended.states()["Guards"], "Transform" in ended.states()) == ("failed", False)
    rows = len(events)
    breach = f"events: {rows + len(more):,}, {rows:,} before; the limit is at most 1 times that (guards.max_size)"
    assert breach in ended.stdout
    assert f"beside those of version {before[0].name}" in ended.stdout
    assert breach in unescape((small.root / "report.html").read_text(encoding="utf-8"))
    assert versions(small.folder) == before

    with Watch(small.folder) as watch:
        ended = run(small.folder, *settings, "--accept", "a sale")
    assert ended.code == 0, ended.text
    [guards] = [line for line in ended.lines if line.node == "Guards"]
    assert guards.summary.startswith(f"let through (a sale): {breach}")
    assert "let through: a sale" in (small.root / "report.html").read_text(encoding="utf-8")
    assert ended.states()["Trainer"] == "done"
    after = versions(small.folder)
    assert len(after) == 2
    assert after[0] == before[0]
    assert [release(version)["lineage"]["accepted"] for version in after] == ["", "a sale"]
    assert fingerprint(after[0]) != fingerprint(after[1])
    assert not watch.unloadable
    assert f"version {before[0].name}" in next(line.summary for line in ended.lines if line.node == "Champion")
    [header] = [line for line in ended.stdout.split("\n") if "metric" in line and "this model" in line]
    assert "champion" in header
    report = load_report(small.artifact("Evaluator", "evaluation").uri)
    assert list(report.metrics)[:3] == ["candidate", "champion", "popularity"]
    # What serves has seen the queries: it is the model that was judged for it that is held against the new one.
    champion = small.artifact("Champion", "champion")
    assert "as it was judged" in champion.custom_properties["summary"].string_value
    assert fingerprint(Path(champion.uri, "Format-Serving")) == release(after[0])["judged"] != fingerprint(after[0])
    # The champion's own queries, but for those at the very beginning, are as they were.
    assert re.match(r"\d+ of the champion's own queries were asked too", report.own_night), report.own_night
    assert [(check.kind, check.own_night) for check in report.checks] == [
        ("champion", False),
        ("popularity", False),
        ("champion", True),
    ]


def test_only_runs_one_node_again(small: Small) -> None:
    before = {node: len(runs) for node, runs in executions(small.root).items()}
    ended = run(small.folder, "--only", "Evaluator")
    assert ended.code == 0, ended.text
    states = ended.states()
    assert (states.pop("Evaluator"), states.pop("Guards")) == ("done", "done")
    assert set(states.values()) == {"cached"}
    assert not {"Pusher", "ServableValidator"} & set(states)
    assert {"Indexer", "Champion", "InteractionGen"} <= set(states)
    assert "hit@10" in ended.stdout
    after = executions(small.root)
    assert {node for node, runs in after.items() if len(runs) > before[node]} == {"Evaluator", "Guards", *states}


def test_from_runs_a_node_and_all_that_follows_again(small: Small) -> None:
    before = versions(small.folder)
    ended = run(small.folder, "--from", "Indexer")
    assert ended.code == 0, ended.text
    again = {"Guards", "Indexer", "Champion", "Evaluator", *SHIPPING, "ServableValidator", "Pusher"}
    assert ended.states() == {node: "done" if node in again else "cached" for node in NODES}
    assert "nothing new" in ended.stdout
    assert versions(small.folder) == before


def test_an_edit_runs_again_what_uses_it_and_what_follows(
    small: Small, cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("pipeline", "components", "serving", "kubeflow"):
        shutil.copytree(CHECKOUT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for module in ("components/example_validator/anomalies", "components/indexer/rules", "pipeline/report/charts"):
        with open(tmp_path / f"{module}.py", "a", encoding="utf-8") as file:
            file.write("# edited\n")
    monkeypatch.setattr("pipeline.code._ROOT", tmp_path)
    before = {path.name for path in versions(small.folder)}
    ended = cli(small.folder, "run", "--config", "config.yaml")
    assert ended.code == 0, ended.text
    again = {"ExampleValidator", "Guards", "Indexer", "Champion", "Evaluator", *SHIPPING, "ServableValidator", "Pusher"}
    assert ended.states() == {node: "done" if node in again else "cached" for node in NODES}
    # The same weights, but they may answer otherwise now.
    [new] = {path.name for path in versions(small.folder)} - before
    assert f"version {new} is published" in ended.text


def test_not_blessed_pushes_nothing_and_says_why(small: Small) -> None:
    shutil.rmtree(small.folder / "models")
    report = load_report(small.artifact("Evaluator", "evaluation").uri)
    reached = report.metrics["candidate"]["overall"]["hit_rate@10"]
    unreachable = ("evaluation.thresholds={hit_rate@10: {min: 0.9999}}", "validation.max_memory_mb=1")
    ended = run(small.folder, *(argument for setting in unreachable for argument in ("--set", setting)))
    assert ended.code == 3, ended.text
    assert f"not blessed: hit@10 {reached:.4f} is below 0.9999" in ended.stdout
    assert re.search(r"not blessed by ServableValidator: .*server memory \d+ MiB, more than the 1 MiB", ended.stdout)
    assert "not pushed: not blessed by the Evaluator and the ServableValidator" in ended.stdout
    assert versions(small.folder) == []
    assert ended.states()["Trainer"] == "cached"
    # Nothing dear is done for what is not shipped.
    lines = {line.node: line for line in ended.lines}
    assert {lines[node].summary for node in SHIPPING} == {NOT_SHIPPED}
    assert sum(lines[node].seconds for node in SHIPPING) < 3
