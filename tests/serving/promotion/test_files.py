"""What promotion keeps under the base path."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import serving
from serving.files import write_atomically
from serving.promotion import Promoter, PromotionFailed, PromotionLocked, WrongPromotion, files, read_audit
from serving.server.process import environment
from tests.serving.fake_replica import publish
from tests.serving.promotion.world import M, World


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense {", "not a models.config: 1:"),
        ('model_config_list { config { name: "m" } config { name: "m" } }', "each model has one entry"),
        ("custom_model_config {}", "must be a model_config_list"),
    ],
)
def test_a_models_config_that_makes_no_sense(tmp_path: Path, content: str, message: str) -> None:
    publish(tmp_path, M, 1)
    (tmp_path / "models.config").write_text(content)
    with pytest.raises(WrongPromotion, match=message):
        Promoter(tmp_path, M, []).promote(1, "stable")
    assert (tmp_path / "models.config").read_text() == content


@pytest.mark.slow
@pytest.mark.smoke
def test_a_second_promoter_waits_or_hears_who_is_at_work(world: World) -> None:
    begun, go = threading.Event(), threading.Event()

    def say(message: str) -> None:
        begun.set()
        go.wait(10)

    thread = threading.Thread(target=lambda: world.promoter(say=say).promote(1, "stable"))
    thread.start()
    begun.wait(10)
    with pytest.raises(PromotionLocked, match=rf"'promote m' by .*process {os.getpid()}, 20.*--lock-timeout SECONDS"):
        world.promoter().promote(2, "stable")
    go.set()
    world.promoter(wait=10).promote(2, "stable")
    thread.join()
    assert [entry.to_version for entry in read_audit(world.base)] == [1, 2]


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("torn", [b'{"id": "', b"\xff\xfe"])
def test_the_audit_trail_survives_a_torn_line(world: World, torn: bytes) -> None:
    world.promoter().promote(1, "stable")
    world.promoter().promote(2, "stable")
    path = world.base / "promotions.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    world.promoter().rollback()
    assert [entry.to_version for entry in read_audit(world.base)] == [1, 2, 1]


def test_prune_keeps_what_is_named_and_the_newest(world: World) -> None:
    publish(world.base, M, 4)
    world.promoter().promote(1, "stable")
    world.promoter().promote(2, "stable")
    assert files.prune(world.base, M, 1) == [3]
    assert files.versions_on_disk(world.base, M) == [1, 2, 4]
    assert read_audit(world.base)[-1].why == "serving.retain: 1"
    publish(world.base, M, 5)
    with files.lock(world.base, "promote m"):
        assert files.prune(world.base, M, 1) == [], "not in the middle of a promotion"
    assert files.prune(world.base, M, 4) == []


def test_an_entry_is_one_line_of_json(world: World) -> None:
    entry = world.promoter(why="two lines 🎬").promote(1, "stable")
    [line] = (world.base / "promotions.jsonl").read_text().splitlines()
    assert json.loads(line) == {**dataclasses.asdict(entry), "replicas": list(entry.replicas)}


@pytest.mark.slow
@pytest.mark.smoke
def test_what_people_write_is_kept_as_one_line_that_a_terminal_can_show(world: World) -> None:
    # As Python hands over a byte of the command line that is no UTF-8.
    entry = world.promoter(why="caf\udce9", who="\x1b[2Jann\udcff").promote(1, "stable")
    assert (entry.why, entry.who) == ("caf?", "\ufffd[2Jann?")
    assert entry.by.endswith(f"@{socket.gethostname()}")
    assert read_audit(world.base) == [entry]
    world.promoter().promote(2, "stable")
    assert world.promoter().rollback().to_version == 1
    assert world.promoter(why="two\nlines").promote(2, "stable").why == "two lines"


@pytest.mark.slow
@pytest.mark.smoke
def test_lines_of_the_audit_trail_that_say_what_none_can(world: World) -> None:
    entry = world.promoter().promote(1, "stable")
    path = world.base / "promotions.jsonl"
    line = json.loads(path.read_text())
    with path.open("a") as file:
        for wrong in ({"to_version": "7"}, {"to_version": True}, {"why": None}, {"id": 1}, {"replicas": 5}):
            file.write(json.dumps({**line, **wrong}) + "\n")
        file.write(json.dumps({**line, "id": "old", "who": "\x1b[31mmallory"}) + "\n")
    assert read_audit(world.base) == [entry, dataclasses.replace(entry, id="old", who="\ufffd[31mmallory")]
    assert world.promoter().promote(2, "stable").from_version == 1


def test_a_journal_that_cannot_be_read(world: World) -> None:
    journal = world.base / ".promotion.journal"
    for content in ("", "{", "[]", '{"entry": 5}', '{"entry": {"id": "x", "replicas": []}}'):
        journal.write_text(content)
        with pytest.raises(
            WrongPromotion, match=r"promotion\.journal: what an interrupted promotion left can't be read"
        ):
            world.promoter().promote(1, "stable")
    journal.unlink()
    (world.base / "promotions.jsonl").mkdir()
    with pytest.raises(WrongPromotion, match=r"promotions\.jsonl: can't be read: Is a directory"):
        world.promoter().promote(1, "stable")
    (world.base / "promotions.jsonl").rmdir()


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("nth", range(7))
def test_a_disk_that_is_full(world: World, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    world.promoter().promote(1, "stable")
    before = (world.base / "models.config").read_text()
    writes = itertools.count()

    def full(path: Any, content: Any) -> None:
        if next(writes) >= nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_atomically", full)
        if nth < 6:
            with pytest.raises(PromotionFailed, match="No space left on device") as failed:
                world.promoter().promote(2, "stable")
            unchanged = (world.base / "models.config").read_text() == before
            assert ("models.config is as it was before" in str(failed.value)) <= unchanged
            assert ("models.config is not as it was before" in str(failed.value)) <= (not unchanged)
        else:
            world.promoter().promote(2, "stable")
    world.promoter().promote(3, "stable")  # which puts right what was left
    assert world.labels["stable"] == 3


def test_the_digest_of_a_version(tmp_path: Path) -> None:
    publish(tmp_path, M, 1)
    publish(tmp_path, M, 2)
    digest = files.digest(tmp_path, M, 1)
    assert files.digest(tmp_path, M, 2) == digest
    (tmp_path / M / "1" / "saved_model.pb").write_text("x")
    assert files.digest(tmp_path, M, 1) != digest
    (tmp_path / M / "2" / "batching_params.pbtxt").touch()
    assert files.digest(tmp_path, M, 2) == digest, "no server fails to load it for that"
    (tmp_path / M / "2" / "assets").mkdir(exist_ok=True)
    (tmp_path / M / "2" / "assets" / "more").touch()
    assert files.digest(tmp_path, M, 2) != digest


@pytest.mark.slow
@pytest.mark.smoke
def test_promotion_needs_no_tensorflow() -> None:
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'tensorflow_serving', 'numpy'): sys.modules[name] = None\n"
        "import serving.promotion"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment())


def test_the_package_tells_that_it_is_typed() -> None:
    assert (Path(serving.__file__).parent / "py.typed").is_file()
