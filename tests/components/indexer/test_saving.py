"""The servable as it is written."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.indexer.index import Index
from tests.components.indexer.tiny import (
    DEFAULT_K,
    DIM,
    SETTINGS,
    ask,
    in_memory,
)


def test_manifest_and_warmup(servable_dir: Path, servable: Any) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    manifest = json.loads((servable_dir / "assets.extra" / "recommender.json").read_text())
    assert manifest["format"] == 1
    assert (manifest["num_items"], manifest["num_users"], manifest["dim"]) == (7, 3, DIM)
    assert (manifest["default_k"], manifest["max_k"], manifest["model_name"]) == (DEFAULT_K, 1000, "tiny")
    asked = set()
    for record in tf.data.TFRecordDataset(str(servable_dir / "assets.extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "tiny"
        signature = request.model_spec.signature_name
        asked.add(signature)
        servable.signatures[signature](**{n: tf.constant(tf.make_ndarray(t)) for n, t in request.inputs.items()})
    assert asked == set(servable.signatures)


@pytest.mark.slow
@pytest.mark.smoke
def test_loads_with_plain_tensorflow_and_native_ops(servable_dir: Path) -> None:
    program = f"""
import sys, tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    tf.compat.v1.saved_model.load(session, ["serve"], {str(servable_dir)!r})
model = saved_model_pb2.SavedModel.FromString(open({str(servable_dir / "saved_model.pb")!r}, "rb").read())
graph = model.meta_graphs[0].graph_def
ops = {{n.op for n in graph.node}} | {{n.op for f in graph.library.function for n in f.node_def}}
assert not [op for op in ops if "PyFunc" in op], ops
assert not {{"tensorflow_recommenders", "tensorflow_transform", "tensorflow_text"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_table_is_copied_at_each_request(servable_dir: Path) -> None:
    """A variable that one op gathers from is copied whole by every op that reads it, in the same process ever after."""
    model = saved_model_pb2.SavedModel.FromString((servable_dir / "saved_model.pb").read_bytes())
    functions = {f.signature.name: f for f in model.meta_graphs[0].graph_def.library.function}
    used: dict[str, set[str]] = {}

    def follow(name: str, arguments: list[str]) -> None:
        """Notes by which ops each of a function's resources is used; `arguments` are what they are to the caller."""
        names = dict(zip((argument.name for argument in functions[name].signature.input_arg), arguments))
        for node in functions[name].node_def:
            inputs = [names.get(tensor, "") for tensor in node.input if not tensor.startswith("^")]
            called = [value.func.name for value in node.attr.values() if value.HasField("func")]
            if called:
                for function in called:  # of a condition the first input chooses the branch
                    follow(function, inputs[1:] if node.op in ("If", "StatelessIf") else inputs)
            elif inputs and inputs[0]:
                used.setdefault(inputs[0], set()).add(node.op)

    for node in model.meta_graphs[0].graph_def.node:
        if node.op == "StatefulPartitionedCall" and "traced" not in node.attr["f"].func.name:
            follow(node.attr["f"].func.name, list(node.input))
    assert {"ReadVariableOp"} in used.values()
    assert {"ResourceGather"} in used.values()
    assert not [name for name, ops in used.items() if {"ReadVariableOp", "ResourceGather"} <= ops], used


def test_ids_are_stored_once(servable_dir: Path, towers: str, index: Index) -> None:
    stored = tf.train.load_checkpoint(str(servable_dir / "variables" / "variables")).get_variable_to_dtype_map()
    texts = [name for name, kind in stored.items() if kind == tf.string and "CHECKPOINTABLE" not in name]
    assert [name.split("/")[0].lstrip("_") for name in texts if "user_context" not in name] == ["display"]
    plain = in_memory(towers, dataclasses.replace(index, display=index.item_ids), SETTINGS)
    assert [variable.name for variable in plain.variables if variable.dtype == tf.string] == ["user_context:0"]
    answer = ask(plain, "describe", item_id=tf.constant(["e🙂", "unknown"]))
    assert [text.decode() for text in answer["display"]] == ["e🙂", ""]
    assert answer["known"].tolist() == [True, False]
