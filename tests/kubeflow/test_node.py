"""A node in its container: inputs, outputs and parameters, from KFP's description to TFX's and back."""

from __future__ import annotations

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
    with pytest.raises(InputError, match="parameter count: 'four' is no number"):
        node.exec_properties({"count": "four"}, ToySpec)
