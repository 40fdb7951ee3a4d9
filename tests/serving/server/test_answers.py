"""What the server logs of its answers, over both of its ways in and with batching."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from serving import contract
from serving.client import AnswerLog, Query, RecommenderClient
from serving.client.answer_log import pseudonym
from serving.client.context import serialize, serialize_query
from serving.client.rules import Rules
from serving.server import answers
from serving.server.observer import Observer
from serving.server.process import EMBEDDED, ServerProcess
from tests.serving.fixtures import MODEL
from tests.serving.in_process import serve


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_what_is_asked_over_both_ways_is_logged(servable, tmp_path):
    with AnswerLog(tmp_path / "log", history=5) as log:
        watch = Observer(answers=log)
        with serve(servable, tmp_path, {"watch": watch}, {"watch": watch}) as servers:
            for transport, target in (("grpc", servers.grpc_target), ("rest", servers.rest_target)):
                with RecommenderClient(target, model=MODEL, transport=transport) as client:
                    before = time.time_ns() // 1000
                    asked = [Query("ann", context={"device": "ios"}), Query(history=["x", "w"], exclude=["1"])]
                    both = client.recommend_batch(asked, k=3)
                    client.similar_items("1")
                    client.status()
        time.sleep(0.3)
    logged = records(tmp_path / "log")
    assert [found["row"] for found in logged] == [0, 1, 0, 1]
    for first, second in (logged[:2], logged[2:]):
        assert (first["by"], first["model"], first["version"]) == ("server", MODEL, 7)
        assert len(first["request"]) == 32
        assert first["request"] == second["request"]
        assert 0 < first["latency_ms"] < 10_000
        assert before - 20_000_000 < first["time"] <= time.time_ns() // 1000
        assert (first["user"], first["context"], first["source"]) == ("ann", {"device": "ios"}, "user")
        assert (first["items"], first["ruled"]) == (both[0].item_ids, False)
        assert (second["user"], second["history"], second["source"]) == (None, ["x", "w"], "history")
        assert (second["items"], second["ruled"]) == (both[1].item_ids, True)
        assert second["scores"] == [item.score for item in both[1]]
    assert logged[1]["request"] == logged[0]["request"] != logged[2]["request"]
    assert both[0].request_id == logged[2]["request"]  # as the client has it


def test_a_query_in_one_example():
    row = serialize_query("ann", ["2", "1"], [], {"age": 30.5, "tags": ["x", "y"]}, Rules(), 3)
    ruled = serialize_query("", [], [], {}, Rules(diversity=0.5), 3)
    outputs = {contract.ITEM_IDS: np.array([[b"7", b""], [b"8", b"9"]], object)}
    with_log = answers.records(_Log(), {}, "r", 1, 0.5, {contract.EXAMPLES: np.array([row, ruled], object)}, outputs)
    first, second = with_log
    assert (first["user"], first["history"], first["history_length"]) == ("ann", ["2", "1"], 2)
    assert (first["context"], first["items"], first["ruled"]) == ({"age": 30.5, "tags": ["x", "y"]}, ["7"], False)
    assert (second["user"], second["items"], second["ruled"], second["source"]) == (None, ["8", "9"], True, None)


def test_rules_are_seen_in_tensors():
    inputs = {
        contract.USER_ID: np.array([b"ann", b"bob", b"eve"], object),
        contract.HISTORY: np.zeros((3, 0), object),
        contract.CONTEXT: np.array([serialize({"device": "ios"}), b"", b""], object),
        contract.ALLOW: np.array([[b""], [b"1"], [b""]], object),
        contract.DIVERSITY: np.array([contract.AS_CONFIGURED, contract.AS_CONFIGURED, 0.0], np.float32),
    }
    outputs = {contract.ITEM_IDS: np.array([[b"1"]] * 3, object)}
    found = list(answers.records(_Log(), {}, "r", 1, 0.5, inputs, outputs))
    assert [one["ruled"] for one in found] == [False, True, True]
    assert found[0]["context"] == {"device": "ios"}
    assert list(answers.records(_Log(), {}, "r", 1, 0.5, inputs, {})) == []


class _Log:
    history = 5

    def user(self, user_id: str) -> str | None:
        return user_id or None

    def features(self, context):
        return dict(context)


@pytest.mark.slow
def test_the_flags(servable, tmp_path):
    (tmp_path / "base" / MODEL).mkdir(parents=True)
    (tmp_path / "base" / MODEL / "1").symlink_to(servable)
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "batching").write_text("batch_timeout_micros { value: 1000 }")
    flags = [
        f"--answer_log={tmp_path / 'log'}",
        f"--answer_log_key_file={tmp_path / 'key'}",
        "--enable_batching=true",
        f"--batching_parameters_file={tmp_path / 'batching'}",
    ]
    process = ServerProcess(tmp_path / "base", MODEL, binary=EMBEDDED, flags=flags)
    process.start()
    try:
        with RecommenderClient(process.grpc_target, model=MODEL) as client:
            client.recommend("ann", k=2)
    finally:
        process.stop()
    [found] = records(tmp_path / "log")
    assert (found["user"], found["items"], found["source"]) == (pseudonym("ann", b"secret"), ["3", "4"], "user")
