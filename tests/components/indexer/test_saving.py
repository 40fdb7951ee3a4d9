"""The servable as it is written."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from components.indexer.attributes import Attributes
from components.indexer.index import Index
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings
from serving import contract
from tests.components.indexer.tiny import (
    DEFAULT_K,
    DIM,
    ITEMS,
    SETTINGS,
    ask,
    in_memory,
    make_index,
    write_towers,
)

pytestmark = [pytest.mark.slow, pytest.mark.smoke]  # to save a servable takes its time


def test_manifest_and_warmup(servable_dir: Path, loaded: Any) -> None:
    manifest = json.loads((servable_dir / "assets.extra" / "recommender.json").read_text())
    assert manifest["format"] == 1
    assert (manifest["num_items"], manifest["num_users"], manifest["dim"]) == (7, 3, DIM)
    assert (manifest["default_k"], manifest["max_k"], manifest["model_name"]) == (DEFAULT_K, 1000, "tiny")
    assert manifest["beyond_vectors"] == []
    asked = set()
    for signature, inputs in requests_of(servable_dir):
        asked.add(signature)
        loaded.signatures[signature](**inputs)
    assert asked == set(loaded.signatures)
    # What is no signature of this model is not traced either.
    assert {name for name in contract.SIGNATURES if callable(getattr(loaded, name, None))} == asked


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


def requests_of(folder: Path) -> Iterator[tuple[str, dict[str, tf.Tensor]]]:
    for record in tf.data.TFRecordDataset(str(folder / contract.WARMUP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def test_all_that_there_can_be_is_saved(tmp_path: Path) -> None:
    """Less precision, a context, a second stage, tasks, what users' ids add, what comes together, attributes and
    diversity."""
    shift, users = [{"name": "shift", "type": "number"}], {"cleo": [0.5, 0.0, -1.0]}
    tasks = {"purchase": 0.75, "view": 0.25}
    towers = write_towers(tmp_path / "towers", shift, ["shift"], users=users, candidates=3, tasks=tasks)
    index = dataclasses.replace(
        make_index(towers, tmp_path / "data"),
        cooccurrence=np.random.default_rng(0).normal(size=(len(ITEMS), 2)).astype(np.float32),
        attributes=Attributes(("brand",), (), np.array([b"=", b"brand=x"], object), np.array([0, 0, 1]), np.array([3])),
    )
    settings = IndexerSettings(default_k=DEFAULT_K, compact="int8", diversity=0.3, audience=True)
    manifest = save_servable(towers, index, settings, "tiny", str(tmp_path / "1"))
    assert manifest["beyond_vectors"] == ["second_stage", "diversity"]
    saved, in_mind = tf.saved_model.load(str(tmp_path / "1")), in_memory(towers, index, settings)
    asked = list(requests_of(tmp_path / "1"))
    assert {signature for signature, _ in asked} == set(contract.SIGNATURES)
    assert json.loads((tmp_path / "1" / contract.MANIFEST).read_text())["max_k_of_users"] == 1000
    for signature, inputs in asked:
        answers = ask(saved, signature, **inputs), ask(in_mind, signature, **inputs)
        assert set(answers[0]) == set(contract.SIGNATURES[signature].outputs)
        for name, value in answers[0].items():
            if value.dtype == np.float32:
                np.testing.assert_allclose(value, answers[1][name], rtol=1e-5)
            else:
                assert value.tolist() == answers[1][name].tolist()
