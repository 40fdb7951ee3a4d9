"""What promotion keeps under the base path."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import serving.files
from serving.files import write_atomically
from serving.promotion import (
    Promoter,
    PromotionFailed,
    PromotionLocked,
    Replica,
    WrongPromotion,
    chain,
    files,
    read_audit,
)
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


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_needed_is_not_removed_and_the_reason_is_told(world: World) -> None:
    for version in (4, 5, 6):
        publish(world.base, M, version)
    assert files.needed(world.base, M) == {6: "the newest"}
    for version, label in ((1, "stable"), (2, "stable"), (4, "canary")):
        world.promoter().promote(version, label)
    assert files.needed(world.base, M) == {1: "loaded", 2: "label stable", 4: "label canary", 6: "the newest"}
    (world.base / M / ".retired-9").mkdir()
    assert files.remove_versions(world.base, M, range(7), "a test") == [3, 5]
    assert files.versions_on_disk(world.base, M) == [1, 2, 4, 6]
    assert not (world.base / M / ".retired-9").exists()
    assert [(e.action, e.from_version, e.why) for e in read_audit(world.base)[-2:]] == [
        ("retire", 3, "a test"),
        ("retire", 5, "a test"),
    ]
    # What was stable before stays though somebody has taken it out of models.config.
    before = files.config_path(world.base).read_text()
    files.write_config(world.base, files.render(files.read_config(world.base), M, "x", {"stable": 2}, {2}))
    assert files.needed(world.base, M)[1] == "what a rollback goes back to"
    files.write_config(world.base, before)
    with files.lock(world.base, "promote m"), pytest.raises(PromotionLocked):
        files.remove_versions(world.base, M, [1], "a test")


@pytest.mark.slow
@pytest.mark.smoke
def test_a_version_takes_the_place_of_one_whose_users_are_forgotten(world: World) -> None:
    for version in (4, 5):
        publish(world.base, M, version)
    for version in (1, 2):
        world.promoter().promote(version, "stable")
    world.promoter().promote(5, "stable")
    for before, after in ((1, 4), (2, 5)):
        entry = files.note_forgetting(world.base, M, before, after)
        assert (entry.action, entry.why, entry.result) == ("forget", "users are forgotten", "done")
    assert files.stable_history(read_audit(world.base, M), 5) == [4, 5, 5]
    assert world.promoter().rollback().to_version == 4
    assert files.verify_audit(world.base).faults == ()


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
@pytest.mark.parametrize("nth", range(9))
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
        if nth < 8:
            with pytest.raises(PromotionFailed, match="No space left on device") as failed:
                world.promoter().promote(2, "stable")
            unchanged = (world.base / "models.config").read_text() == before
            assert ("models.config is as it was before" in str(failed.value)) <= unchanged
            assert ("models.config is not as it was before" in str(failed.value)) <= (not unchanged)
            assert "when the replicas answer" not in str(failed.value)  # nothing is wrong with them
        else:
            world.promoter().promote(2, "stable")
    world.promoter().promote(3, "stable")  # which puts right what was left
    assert world.labels["stable"] == 3
    assert files.verify_audit(world.base).faults == ()


_MOMENTS = {
    "before the end is noted": False,
    "before the line": False,
    "in the line": False,
    "before the new end is noted": True,
    "never": True,
}
"""When a process is killed, and whether its line is there then."""
_KILLED = """
import os, signal, sys
from pathlib import Path
from serving.promotion import files

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Torn:
    def __init__(self, file):
        self._file = file
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self._file.close()
    def tell(self):
        return self._file.tell()
    def write(self, line):
        self._file.write(line[: len(line) // 2])
        self._file.flush()
        die()

def append(base, when):
    heads = []
    write_head = files._write_head
    def noted(base_path, head):
        heads.append(head)
        if (when, len(heads)) in (("before the end is noted", 1), ("before the new end is noted", 2)):
            die()
        write_head(base_path, head)
    files._write_head = noted
    if when == "before the line":
        files.open = die
    if when == "in the line":
        files.open = lambda *arguments: Torn(open(*arguments))
    entry = files.new_entry("promote", "m", "stable", 1, 2)
    files.append_audit(base, files.dataclasses.replace(entry, id=when, result="done"))
    os._exit(0)

base, *moments = sys.argv[1:]
for when in moments:
    child = os.fork()
    if child == 0:
        append(Path(base), when)
    print(os.waitpid(child, 0)[1], files.verify_audit(Path(base)).faults)
"""


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("first", [True, False], ids=["the first line", "a later line"])
def test_the_chain_of_a_killed_process(tmp_path: Path, first: bool) -> None:
    if not first:
        files.append_audit(tmp_path, files.new_entry("promote", M, "stable", None, 1))
    told = subprocess.check_output(
        [sys.executable, "-c", _KILLED, str(tmp_path), *_MOMENTS], env=environment(), text=True
    )
    assert told.splitlines() == [*["9 ()"] * 4, "0 ()"]
    kept = [entry.id for entry in read_audit(tmp_path, genuine=True)]
    assert kept[-2:] == [when for when, written in _MOMENTS.items() if written]
    last = files.append_audit(tmp_path, files.new_entry("promote", M, "stable", 2, 3))
    found = files.verify_audit(tmp_path)
    assert (found.faults, found.hash, found.torn) == ((), last.hash, (1 if first else 2,))


def test_lines_from_before_there_were_hashes_are_held_too(tmp_path: Path) -> None:
    trail = tmp_path / "promotions.jsonl"
    old = [dataclasses.asdict(files.new_entry("promote", M, "stable", None, 1)) for _ in range(2)]
    for entry in old:
        del entry["previous"], entry["hash"]
    trail.write_text("".join(json.dumps(entry) + "\n" for entry in old))
    assert files.verify_audit(tmp_path) == chain.Verified(2, 2, (), "", (), frozenset())
    new = files.append_audit(tmp_path, files.new_entry("promote", M, "stable", 1, 2))
    assert new.previous == hashlib.sha256("".join(json.dumps(entry) + "\n" for entry in old).encode()).hexdigest()
    assert [entry.to_version for entry in read_audit(tmp_path)] == [1, 1, 2]
    assert files.verify_audit(tmp_path) == chain.Verified(3, 2, (), new.hash, (), frozenset())
    trail.write_text(trail.read_text().replace('"to_version": 1', '"to_version": 7', 1))
    [fault] = files.verify_audit(tmp_path).faults
    assert str(fault).startswith("line 3 doesn't follow on the one before it")


def test_words_of_the_audit_trail_are_taken_out_and_its_chain_holds(tmp_path: Path) -> None:
    (tmp_path / files.AUDIT_FILE).write_text('{"id": "old", "why": "for ann"}\n{"torn')
    for why in ("well", "for ann", "for bob"):
        files.append_audit(tmp_path, files.new_entry("promote", M, "stable", 1, 2, why=why))

    def nameless(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "why": fields["why"].replace("ann", "somebody")}

    hashes = [entry.hash for entry in files.read_audit(tmp_path)]
    assert files.redact_audit(tmp_path, dict)
    assert [entry.hash for entry in files.read_audit(tmp_path)] == hashes
    assert files.redact_audit(tmp_path, nameless)
    assert files.verify_audit(tmp_path).faults == ()
    assert [entry.why for entry in files.read_audit(tmp_path)] == ["well", "for somebody", "for bob"]
    content = (tmp_path / files.AUDIT_FILE).read_text()
    assert "ann" not in content
    files.append_audit(tmp_path, files.new_entry("promote", M, "stable", 1, 2))
    assert files.verify_audit(tmp_path).faults == ()
    # Lines that somebody has changed are not made genuine.
    (tmp_path / files.AUDIT_FILE).write_text(content.replace("for bob", "for ann"))
    assert not files.redact_audit(tmp_path, nameless)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_rollback_does_not_go_by_forged_lines(world: World) -> None:
    for version in (1, 2):
        world.promoter().promote(version, "stable")
    trail = world.base / "promotions.jsonl"
    _, second = map(json.loads, trail.read_text().splitlines())
    forged = {**second, "id": "f", "from_version": 2, "to_version": 3}
    with trail.open("a") as file:
        for line in (forged, {**second, "id": "g", "from_version": 3}):
            del line["hash"]
            file.write(json.dumps(line) + "\n")
    said: list[str] = []
    assert world.promoter(say=said.append).rollback().to_version == 1
    assert said[0] == (
        f"{trail}: line 3 has no hash, as lines before it have: promotion didn't write it: see `recommender history"
        " --verify`"
    )
    assert [fault.line for fault in files.verify_audit(world.base).faults] == [3, 4]


def test_all_is_on_the_disk_before_the_next_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file that a promotion writes is flushed before it gets its name, and its folder after that."""
    dirty: set[str] = set()
    done: list[str] = []

    def path_of(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        dirty.discard(path_of(descriptor))

    def rename(source: Path, target: Path) -> Path:
        assert str(source) not in dirty, "not flushed before it got its name"
        dirty.add(str(source.parent))
        done.append(target.name)
        return real_rename(source, target)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        dirty.add(str(path.parent))
        done.append(f"no {path.name}")
        real_unlink(path, missing_ok)

    def opened(path: Any, mode: str = "r", **options: Any) -> Any:
        assert not dirty, "something is not on the disk yet"
        if mode[0] in "wa":
            dirty.add(str(path))
        return open(path, mode, **options)

    def reload(replica: Replica, config: Any) -> None:
        assert not dirty, "something is not on the disk yet"
        done.append("reload")
        real_reload(replica, config)

    real_fsync, real_rename, real_unlink, real_reload = os.fsync, Path.rename, Path.unlink, Replica.reload
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(Replica, "reload", reload)
    monkeypatch.setattr(serving.files, "open", opened, raising=False)
    monkeypatch.setattr(files, "open", opened, raising=False)
    world.promoter().promote(1, "stable")
    assert not dirty
    step = ["models.config", "reload", "reload"]
    journal = [".promotion.journal"]
    assert done == [
        *journal, *step, *journal, *step, *journal, *step, "promotions.head", "promotions.head", "no .promotion.journal"
    ]  # fmt: skip


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


def test_without_locks_it_is_said_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(WrongPromotion, match=r"needs the package filelock 3\.30, thus Python 3\.10 or newer"):
        Promoter(tmp_path, M, []).promote(1, "stable")


def test_the_package_tells_that_it_is_typed() -> None:
    assert (Path(serving.__file__).parent / "py.typed").is_file()


def test_whose_share_of_users_is_told(tmp_path: Path) -> None:
    assert files.shared_version(tmp_path, "m") is None
    (tmp_path / "m").mkdir()
    files.write_share(tmp_path, "m", 0.25, 20260102030405)
    assert (files.read_share(tmp_path, "m"), files.shared_version(tmp_path, "m")) == (0.25, 20260102030405)
    for broken in ("{", "{}", '{"salt": 3}', '{"salt": "m:x"}'):
        files.traffic_path(tmp_path, "m").write_text(broken)
        assert files.shared_version(tmp_path, "m") is None
    files.traffic_path(tmp_path, "m").unlink()
    files.traffic_path(tmp_path, "m").mkdir()
    for read in (files.read_share, files.shared_version):
        with pytest.raises(WrongPromotion, match=r"traffic\.json: can't be read: Is a directory"):
            read(tmp_path, "m")


def test_what_a_killed_deletion_left_is_in_no_version_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("2", ".retired-2"):
        (tmp_path / M / name / "variables").mkdir(parents=True)
    files.remove_version(tmp_path, M, 2)
    assert [*(tmp_path / M).iterdir()] == []

    def refused(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(shutil, "rmtree", refused)
    (tmp_path / M / "3").mkdir()
    with pytest.raises(PromotionFailed, match="m: can't be written: Read-only file system"):
        files.remove_version(tmp_path, M, 3)
