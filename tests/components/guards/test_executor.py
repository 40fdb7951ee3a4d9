"""Guards' executor: it profiles, judges, stops, or lets through and notes why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components import log_profile
from components.breaches import BreachError
from components.data_profile import CHECKS, FILES, IN_VERSION, PROFILE, DataProfile, RejectedRows
from components.guards.executor import Executor
from components.guards.profile import from_json
from components.guards.settings import GuardSettings
from components.hashing import hashes
from components.versions import publish
from tests.components.conftest import write_examples
from tests.components.guards.data import log
from tests.components.nodes import make_model


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Any]:
    """Runs the executor on a log's profile and 30 items; returns its output artifact."""
    write_examples(
        tmp_path / "items", "catalogue", [{"item_id": f"i{n}", "kind": "a", "#listed": 1} for n in range(30)]
    )
    (tmp_path / "statistics" / "Split-train").mkdir(parents=True)
    from tensorflow_metadata.proto.v0 import statistics_pb2

    empty = statistics_pb2.DatasetFeatureStatisticsList(datasets=[statistics_pb2.DatasetFeatureStatistics()])
    (tmp_path / "statistics" / "Split-train" / "FeatureStats.pb").write_bytes(empty.SerializeToString())

    def run(made: Any, accept: str = "", **driven: str) -> Any:
        number = len(list(tmp_path.glob("rejects*")))
        rejects, output = tmp_path / f"rejects{number}", tmp_path / f"output{number}"
        rejects.mkdir()
        output.mkdir()
        (rejects / FILES).write_text('{"interactions": [{"path": "log.csv", "bytes": 1, "digest": "ab"}]}')
        if made is not None:
            (rejects / log_profile.FILE_NAME).write_text(log_profile.to_json(made))
        artifacts = {
            "rejects": RejectedRows(),
            "catalogue": standard_artifacts.Examples(),
            "statistics": standard_artifacts.ExampleStatistics(),
        }
        for artifact, uri in zip(artifacts.values(), (rejects, tmp_path / "items", tmp_path / "statistics")):
            artifact.uri = str(uri)
        artifacts["statistics"].split_names = '["train", "eval"]'
        profile = DataProfile()
        profile.uri = str(output)
        properties = {
            "base_path": str(tmp_path / "base"),
            "model_name": "m",
            "settings": GuardSettings().model_dump_json(),
            "features": json.dumps({"kind": "category"}),
            "accept": accept,
            **driven,
        }
        Executor().Do({name: [one] for name, one in artifacts.items()}, {"profile": [profile]}, properties)
        return profile

    return run


def push(tmp_path: Path, profile: Any) -> str:
    """Pushes a version of the data that Guards has profiled."""
    number = len(list(tmp_path.glob("model*")))
    servable = make_model(tmp_path / f"model{number}", str(number)) / "Format-Serving"
    text = Path(profile.uri, PROFILE).read_text()
    return str(publish(servable, tmp_path / "base" / "m", {}, {IN_VERSION: text}).number)


LOG = log(sample={int(item): 100 for item in hashes(f"i{n}".encode() for n in range(40))})
"""A quarter of its events are of items that are not listed."""


def test_the_first_run_has_nothing_to_compare_with(judge: Any) -> None:
    found = judge(LOG)
    assert found.get_string_custom_property("summary") == "4 limits kept; no pushed run to compare with"
    made = from_json(Path(found.uri, PROFILE).read_text(), "")
    assert made is not None
    assert (made.listed, made.unlisted, made.missing()) == (30, 0.25, {"catalogue.kind": 0.0})
    assert json.loads(Path(found.uri, CHECKS).read_text())["last_pushed"] == ""
    # The files that were read go along; who read the catalogue has noted none.
    assert json.loads(Path(found.uri, FILES).read_text()) == {
        "interactions": [{"path": "log.csv", "bytes": 1, "digest": "ab"}]
    }


def test_a_breach_stops_unless_a_reason_lets_it_through(judge: Any, tmp_path: Path) -> None:
    version = push(tmp_path, judge(LOG))
    same = judge(LOG)
    assert re.fullmatch(
        rf"\d+ limits kept; beside those of version {version}", same.get_string_custom_property("summary")
    )
    assert not same.has_custom_property("accepted")
    few = log(**{**vars(LOG), "events": 548, "user": ("ann", 5), "item": ("film", 20)})
    with pytest.raises(BreachError) as stopped:
        judge(few)
    assert str(stopped.value) == (
        f"the data are out of the limits (beside those of version {version}):\n"
        "  events: 548, 5,480 before; the limit is at least 50% of that (guards.min_size)\n"
        "mend the data, or let this one run through by --accept REASON"
    )
    let = judge(few, accept="closed for a week")
    assert let.get_string_custom_property("accepted") == "closed for a week"
    assert let.get_string_custom_property("breaches").startswith("events: 548")
    assert let.get_string_custom_property("summary").startswith("let through (closed for a week): events: 548, 5,480")
    written = json.loads(Path(let.uri, CHECKS).read_text())
    assert (written["last_pushed"], written["accepted"]) == (version, "closed for a week")
    # What was pushed is the new usual.
    push(tmp_path, let)
    judge(few)


def test_a_reason_without_a_breach_is_not_noted(judge: Any) -> None:
    assert not judge(LOG, accept="just in case").has_custom_property("accepted")


def test_the_driver_s_find_counts(judge: Any, tmp_path: Path) -> None:
    push(tmp_path, judge(LOG))
    found = judge(LOG, last_pushed="")
    assert found.get_string_custom_property("summary").endswith("no pushed run to compare with")


def test_versions_and_logs_of_before_say_nothing(judge: Any, tmp_path: Path) -> None:
    publish(make_model(tmp_path / "old", "old") / "Format-Serving", tmp_path / "base" / "m")
    summary = judge(None).get_string_custom_property("summary")
    assert re.fullmatch(
        r"0 limits kept; version \d+, the last pushed, says nothing of its data to compare with", summary
    )
