"""What is logged of answers, and what a kill, a full disk and a crowd do to it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from serving.client import AnswerLog, AsyncRecommenderClient, Exploration, InvalidRequest, Query, RecommenderClient
from serving.client import answer_log as module
from serving.client.answer_log import PART, pseudonym
from serving.server.ports import free_port
from tests.serving.fixtures import MODEL


def records(folder: Path, suffix: str = ".jsonl") -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob(f"*{suffix}")) for line in path.read_text().splitlines()]


def until(true) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it didn't come true")


@pytest.mark.slow
def test_an_answer_is_logged(target, transport, tmp_path):
    with (
        AnswerLog(tmp_path, history=1) as log,
        RecommenderClient(target, model=MODEL, transport=transport, answer_log=log) as client,
    ):
        context = {"device": "ios", "timestamp": datetime(2026, 1, 2), "none": None}
        before = time.time_ns() // 1000
        answer = client.recommend("ann", history=["x", "w"], k=3, context=context)
    [found] = records(tmp_path)
    assert before <= found.pop("time") <= time.time_ns() // 1000
    assert 0 < found.pop("latency_ms") < 10_000
    assert len(found.pop("id")) == 16
    assert len(answer.request_id) == 32
    assert found == {
        "format": 1,
        "by": "client",
        "request": answer.request_id,
        "row": 0,
        "model": MODEL,
        "version": 7 if transport == "grpc" else None,
        "label": None,
        "source": "user",
        "user": "ann",
        "history_length": 2,
        "history": ["x"],
        "context": {"device": "ios", "timestamp": "2026-01-02T00:00:00"},
        "ruled": False,
        "items": answer.item_ids,
        "scores": [item.score for item in answer],
    }
    assert log.counts() == {"written": 1}


@pytest.mark.slow
def test_asyncio_logs_a_batch_by_pseudonyms(server, tmp_path):
    async def ask() -> None:
        async with AsyncRecommenderClient(server.grpc_target, model=MODEL, answer_log=log) as client:
            await client.recommend_batch([Query("ann", exclude=["1"]), Query()], k=2)

    with AnswerLog(tmp_path, key="secret", context=()) as log:
        asyncio.run(ask())
    first, second = records(tmp_path)
    # HMAC-SHA256 of "ann" with the key "secret", by openssl.
    assert first["user"] == pseudonym("ann", "secret") == "aad4e6199b77de3305e568999486a8be"
    assert (first["row"], first["ruled"], second["row"], second["ruled"], second["user"]) == (0, True, 1, False, None)
    assert first["request"] == second["request"]
    assert "ann" not in "".join(path.read_text() for path in tmp_path.iterdir())


@pytest.mark.slow
def test_fall_back_lists_and_shuffled_ones_are_logged_as_such(server, tmp_path):
    explored = Exploration(1.0, first=2)
    with AnswerLog(tmp_path) as log:
        options = {"model": MODEL, "answer_log": log, "exploration": explored}
        with RecommenderClient(server.grpc_target, **options) as client:
            answers = [client.recommend("ann", k=3) for _ in range(20)]
        with RecommenderClient(f"127.0.0.1:{free_port()}", fallback=["9"], **options) as client:
            client.recommend("ann", k=3)
    *shuffled, fallen = records(tmp_path)
    assert {tuple(answer.item_ids) for answer in answers} == {("3", "4", "5"), ("4", "3", "5")}
    for answer, found in zip(answers, shuffled):
        assert found["items"] == answer.item_ids
        assert found["order"] == list(answer.order) == [["3", "4", "5"].index(item) for item in answer.item_ids]
        assert found["exploration"] == {"share": 1.0, "first": 2}
    assert (fallen["source"], fallen["version"], fallen["items"]) == ("fallback", None, ["9"])
    assert "exploration" not in fallen
    assert "order" not in fallen


def test_a_share_by_the_request(tmp_path):
    with AnswerLog(tmp_path, share=0.25) as one, AnswerLog(tmp_path, share=0.25) as other:
        taken = [one.takes(str(number)) for number in range(4000)]
        assert taken == [other.takes(str(number)) for number in range(4000)]
    assert 850 <= sum(taken) <= 1150
    with AnswerLog(tmp_path, share=0) as none:
        assert not none.takes("any")


@pytest.mark.slow
def test_files_are_finished_by_size_and_by_age(tmp_path):
    with AnswerLog(tmp_path, file_bytes=30, file_seconds=0.3) as log:
        log.add(lambda: [{"n": 1, "text": "x" * 40}])
        until(lambda: records(tmp_path))
        assert not list(tmp_path.glob(f"*{PART}"))
        log.add(lambda: [{"n": 2}])
        until(lambda: len(records(tmp_path)) == 2)
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_the_oldest_files_go_where_they_are_too_many_bytes(tmp_path, caplog):
    for second, size in enumerate((400, 300, 200)):
        (tmp_path / f"answers-20260101T00000{second}-00.jsonl").write_bytes(b"x" * size)
    (tmp_path / "other.jsonl").write_bytes(b"x" * 900)  # nobody's business
    (tmp_path / f"answers-20250101T000000-00.jsonl{PART}").write_bytes(b"")
    with caplog.at_level(logging.WARNING), AnswerLog(tmp_path, keep_bytes=500) as log:
        until(lambda: log.counts().get("deleted") == 2)  # 300 + 200 bytes fit; what a dead one left is the oldest
        log.add(lambda: [{"text": "x" * 600}])
    assert log.counts() == {"deleted": 4, "written": 1}
    assert "deleted its 2 oldest files" in caplog.text
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[-1] == "other.jsonl"
    assert [json.loads((tmp_path / name).read_text()) for name in left[:-1]] == [{"text": "x" * 600}]
    with AnswerLog(tmp_path, keep_bytes=None) as log:
        log.add(lambda: [{"n": 1}])
    assert len(list(tmp_path.iterdir())) == 3


def test_no_call_waits_for_a_writer_that_hangs(tmp_path, monkeypatch, caplog):
    let_go = module.threading.Event()
    monkeypatch.setattr(module._Files, "write", lambda *_: let_go.wait(60))
    log = AnswerLog(tmp_path, waiting=5)
    log.add(lambda: [{}])
    until(lambda: not log._waiting)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            log.add(lambda: [{}])
        log.add(lambda: [{}, {}], 2)
    assert time.monotonic() - started < 20
    assert log.counts()["too many wait"] == 3
    assert "answers are not logged" in caplog.text
    log.close(0.01)
    let_go.set()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_loses_answers_and_nothing_else(tmp_path, monkeypatch, caplog):
    true_write, full = os.write, [True]

    def write(descriptor: int, content: memoryview) -> int:
        if full[0] and len(content) > 10:
            return true_write(descriptor, content[:10])  # what still fits
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return true_write(descriptor, content)

    monkeypatch.setattr(module.os, "write", write)
    with AnswerLog(tmp_path) as log:
        with caplog.at_level(logging.WARNING):
            log.add(lambda: [{"n": 1}, {"n": 2}])
            until(lambda: log.counts().get("disk") == 2)
        full[0] = False
        log.add(lambda: [{"n": 3}])
    assert records(tmp_path) == [{"n": 3}]
    assert "No space left on device" in caplog.text
    assert log.counts() == {"disk": 2, "written": 1}


@pytest.mark.slow
def test_a_folder_that_cant_be_written_does_no_harm(server, tmp_path):
    (tmp_path / "file").write_text("")
    with (
        AnswerLog(tmp_path / "file" / "answers") as log,
        RecommenderClient(server.grpc_target, model=MODEL, answer_log=log) as client,
    ):
        assert client.recommend("ann", k=1).item_ids == ["3"]
    assert log.counts() == {"disk": 1}


def test_a_record_that_cant_be_written_is_left_out_alone(tmp_path):
    def broken():
        raise ValueError("broken")

    with AnswerLog(tmp_path) as log:
        log.add(broken)
        log.add(lambda: [{"n": object()}])
        log.add(lambda: [{"n": 1}])
    assert records(tmp_path) == [{"n": 1}]
    assert log.counts() == {"unwritable": 2, "written": 1}
    log.add(lambda: [{"n": 2}])
    assert log.counts()["closed"] == 1


WRITER = """
import sys, time
from serving.client import AnswerLog
log = AnswerLog(sys.argv[1])
for number in range(1_000_000):
    log.add(lambda number=number: [{"n": number, "text": "x" * 1000}])
    time.sleep(0.0005)
    if number == 500: print("on", flush=True)
"""


@pytest.mark.slow
@pytest.mark.smoke
def test_what_a_killed_process_wrote_is_there_and_is_finished_by_the_next(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: list(tmp_path.glob(f"*{PART}")))
    with AnswerLog(tmp_path):  # the file of one that lives is left alone
        time.sleep(0.3)
    assert len(list(tmp_path.glob(f"*{PART}"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with AnswerLog(tmp_path):
        until(lambda: list(tmp_path.glob("*.jsonl")))
    assert not list(tmp_path.glob(f"*{PART}"))
    numbers = [found["n"] for found in records(tmp_path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 100


@pytest.mark.slow
def test_the_end_of_the_program_writes_what_waits(tmp_path):
    program = WRITER.replace("1_000_000", "10")
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert [found["n"] for found in records(tmp_path)] == list(range(10))


@pytest.mark.slow
def test_a_fork_has_a_file_of_its_own(tmp_path):
    with AnswerLog(tmp_path) as log:
        log.add(lambda: [{"n": "parent"}])
        child = os.fork()
        if not child:
            log.add(lambda: [{"n": "child"}])
            log.close()
            os._exit(0)
        os.waitpid(child, 0)
    assert sorted(found["n"] for found in records(tmp_path)) == ["child", "parent"]


@pytest.mark.parametrize(
    "wrong", [{"share": 2}, {"key": ""}, {"context": "device"}, {"history": -1}, {"keep_bytes": 0}, {"file_seconds": 0}]
)
def test_what_makes_no_sense_is_refused(wrong, tmp_path):
    with pytest.raises(InvalidRequest, match="answer_log: "):
        AnswerLog(tmp_path, **wrong)
