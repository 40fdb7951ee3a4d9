"""A node in its container: inputs, outputs and parameters, from KFP's description to TFX's and back."""

from __future__ import annotations

import json
import logging
import sys
import types

import pytest

from components.errors import InputError
from kubeflow import node
from tests.kubeflow.toy import BEAM_ARGS, Toy, ToySpec, executor_input, logged


def test_a_node_runs_with_types_of_its_component(root, capsys):
    output = node.run(Toy, executor_input(), BEAM_ARGS, "Toy")
    [model] = output["artifacts"]["model"]["artifacts"]
    assert (model["name"], model["uri"]) == ("model", "s3://b/r/model")
    assert model["metadata"].pop("tfx_version")
    assert model["metadata"] == {
        "summary": '["train"] 5',
        "looked": "at works",
        "from": "s3://b/examples",
        "files": 3,
    }
    assert (root / "s3/b/r/model/weights").read_text() == "half"
    assert logged(capsys)[-1]["message"] == '["train"] 5'


def test_numbers_are_what_the_component_says():
    assert node.exec_properties({"what": "x", "count": 4.0}, ToySpec) == {"what": "x", "count": 4}
    assert type(node.exec_properties({"count": 4.0}, ToySpec)["count"]) is int


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("four", "'four'"),
        (4.7, "4.7"),
        ("4.0", "'4.0'"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (None, "None"),
        ([4], r"\[4\]"),
    ],
)
def test_what_is_no_whole_number_is_refused_where_one_is_wanted(value, written):
    with pytest.raises(InputError, match=f"^parameter count: {written} is no whole number$"):
        node.exec_properties({"count": value}, ToySpec)


def test_what_is_no_number_is_refused_where_one_is_wanted():
    spec = types.SimpleNamespace(PARAMETERS={"share": types.SimpleNamespace(type=float)})
    assert node.exec_properties({"share": 0.25, "other": None}, spec) == {"share": 0.25, "other": None}
    with pytest.raises(InputError, match=r"^parameter share: None is no number$"):
        node.exec_properties({"share": None}, spec)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://bucket/root/shop/run-1/Trainer/7/model", ("shop", "run-1")),
        ("shop/run-1/Trainer/model", ("shop", "run-1")),
        ("run-1/Trainer/model", ("", "")),
        ("s3://bucket/root/shop/run-1/Indexer/model", ("", "")),
    ],
)
def test_pipeline_and_run_are_read_from_where_the_output_is(uri, found):
    assert node._run_of(uri, "Trainer") == found


def test_a_record_of_the_log_is_a_json_object_in_a_line(capsys):
    handler = node.JsonLogs("Toy")
    try:
        raise RuntimeError("broke\nin two")
    except RuntimeError:
        failed = sys.exc_info()
    handler.emit(logging.LogRecord("tfx", logging.WARNING, "a.py", 1, "%s rows\nor so", (3,), None))
    handler.emit(logging.LogRecord("tfx", logging.ERROR, "a.py", 1, "gone", (), failed))
    first, second = logged(capsys)
    assert first == {
        "severity": "WARNING",
        "node": "Toy",
        "message": "3 rows\nor so",
        "logger": "tfx",
        "time": first["time"],
    }
    assert "traceback" not in first
    assert second["traceback"].endswith("RuntimeError: broke\nin two\n")


@pytest.mark.parametrize(
    ("component", "code", "message"),
    [("tests.kubeflow.toy.Toy", 2, "log.csv: row 3 is wrong; mend it"), ("tests.kubeflow.toy.Gone", 1, "Gone")],
)
def test_a_node_that_fails_says_why_and_writes_no_output(component, code, message, root, capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    options = ["--node", "Toy", "--component", component, "--executor_input", json.dumps(executor_input("wrong"))]
    assert node.main([*options, "--", *BEAM_ARGS]) == code
    last = logged(capsys)[-1]
    assert last["severity"] == "ERROR"
    assert message in last["message"]
    assert ("traceback" in last) == (code == 1)
    assert not (root / "s3/b/r/output_metadata.json").exists()
