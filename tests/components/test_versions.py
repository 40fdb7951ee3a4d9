"""Versions on disk."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from components import versions
from components.errors import InputError


def make_servable(path: Path, fingerprint: str = "f1", payload: bytes = b"weights") -> Path:
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.data").write_bytes(payload)
    if fingerprint:
        (path / "assets.extra").mkdir()
        (path / "assets.extra" / "recommender.json").write_text(json.dumps({"fingerprint": fingerprint}))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_servable(tmp_path / "source")


def test_publish_copies_everything_under_a_name_made_of_the_time(tmp_path: Path, source: Path) -> None:
    version = versions.publish(source, tmp_path / "base" / "model")
    assert version.path == tmp_path / "base" / "model" / str(version.number)
    assert len(str(version.number)) == 14
    assert str(version.number).startswith("20")
    assert version.fingerprint == "f1"
    assert (version.path / "variables" / "variables.data").read_bytes() == b"weights"
    assert os.listdir(version.path.parent) == [str(version.number)], "nothing hidden is left"
    assert versions.list_versions(version.path.parent) == [version]


def test_a_version_may_have_the_number_of_another_models(tmp_path: Path, source: Path) -> None:
    version = versions.publish(source, tmp_path / "model", number=20260102030405)
    assert (version.number, version.path.name) == (20260102030405, "20260102030405")
    with pytest.raises(InputError, match="a new version can't be written"):
        versions.publish(source, tmp_path / "model", number=20260102030405)
    assert versions.list_versions(tmp_path / "model") == [version]


def test_what_is_said_about_a_version_comes_with_it(tmp_path: Path, source: Path) -> None:
    version = versions.publish(source, tmp_path / "model", {"metrics": {"hit_rate@10": 0.2}, "why": "ä"})
    assert versions.release(version.path) == {"metrics": {"hit_rate@10": 0.2}, "why": "ä"}
    assert version.fingerprint == "f1"
    assert versions.release(source) == {}, "of a SavedModel that the Pusher didn't push nothing is known"
    bare = versions.publish(make_servable(tmp_path / "bare", ""), tmp_path / "model", {"why": "it has no assets.extra"})
    assert versions.release(bare.path)["why"] == "it has no assets.extra"
    (version.path / "assets.extra" / "release.json").write_text("{")
    with pytest.raises(InputError, match=r"release\.json: damaged: .*; remove that version"):
        versions.release(version.path)


def test_a_version_of_a_newer_project(tmp_path: Path) -> None:
    servable = make_servable(tmp_path / "servable", "f1")
    (servable / "assets.extra" / "recommender.json").write_text('{"format": 2, "fingerprint": "f2"}')
    with pytest.raises(InputError, match=r"recommender\.json: format 2, made by a newer version .* update it$"):
        versions.describe(servable)


def test_a_server_that_runs_as_another_user_can_read_a_version(tmp_path: Path, source: Path) -> None:
    previous = os.umask(0o022)
    try:
        version = versions.publish(source, tmp_path / "model")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(version.path.stat().st_mode) == 0o755
    assert stat.S_IMODE((version.path / "saved_model.pb").stat().st_mode) == 0o644


def test_two_publishes_in_one_second(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_now", lambda: 20260102030405)
    numbers = [versions.publish(source, tmp_path / "model").number for _ in range(3)]
    assert numbers == [20260102030405, 20260102030406, 20260102030407]


def test_a_new_version_is_greater_than_every_number_there(tmp_path: Path, source: Path) -> None:
    (tmp_path / "model" / "99999999999999").mkdir(parents=True)  # without a SavedModel, yet a server may wait for it
    assert versions.publish(source, tmp_path / "model").number == 100000000000000


@pytest.mark.slow
@pytest.mark.smoke
def test_publishers_at_once_each_get_a_version(tmp_path: Path, source: Path) -> None:
    published: list[int] = []
    threads = [
        threading.Thread(target=lambda: published.append(versions.publish(source, tmp_path / "model").number))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(published)) == 6
    assert [version.number for version in versions.list_versions(tmp_path / "model")] == sorted(published)


def test_who_waits_for_another_publisher_says_so(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "model").mkdir()
    with open(tmp_path / ".model.publish.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        publishing = threading.Thread(target=versions.publish, args=(source, tmp_path / "model"))
        publishing.start()
        publishing.join(0.2)
        assert publishing.is_alive()
        assert os.listdir(tmp_path / "model") == []
    publishing.join()
    assert "waiting for another publisher: a process that has just begun" in caplog.text
    assert len(versions.list_versions(tmp_path / "model")) == 1


def test_what_is_no_version_is_not_listed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    make_servable(model / "3", "f3")
    make_servable(model / "20", "")
    make_servable(model / ".publish-abc")
    make_servable(model / "tmp")
    make_servable(model / "12a")
    make_servable(model / "-5")
    make_servable(model / "٣")  # a digit, but not for TensorFlow Serving
    (model / "7").mkdir()  # half-written
    (model / "9").write_text("a file")
    assert [(version.number, version.fingerprint) for version in versions.list_versions(model)] == [(3, "f3"), (20, "")]


def test_newest(tmp_path: Path) -> None:
    assert versions.newest(tmp_path / "missing") is None
    model = tmp_path / "model"
    make_servable(model / "9", "f1")
    make_servable(model / "10", "f2")
    make_servable(model / "11", "")
    assert versions.newest(model).number == 11
    assert versions.newest(model, other_than="f2").number == 11
    (model / "11" / "saved_model.pb").unlink()
    assert versions.newest(model).number == 10
    assert versions.newest(model, other_than="f2").number == 9
    make_servable(model / "12", "f1")
    (model / "10" / "saved_model.pb").unlink()
    assert versions.newest(model, other_than="f1") is None


def test_leftovers_of_killed_publishes_go_at_the_next(tmp_path: Path, source: Path) -> None:
    make_servable(tmp_path / "model" / ".publish-0123")
    version = versions.publish(source, tmp_path / "model")
    assert os.listdir(tmp_path / "model") == [str(version.number)]


def test_a_kill_in_the_middle_of_publishing_leaves_nothing_visible(tmp_path: Path, source: Path) -> None:
    make_servable(tmp_path / "model" / "1")
    script = """
        import os, signal, sys
        from components import versions
        flush = versions._flush
        def die(path):
            if path.name == "variables.data":
                os.kill(os.getpid(), signal.SIGKILL)
            flush(path)
        versions._flush = die
        versions.publish(sys.argv[1], sys.argv[2])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(source), str(tmp_path / "model")]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL
    assert [name for name in os.listdir(tmp_path / "model") if not name.startswith(".")] == ["1"]
    assert len(os.listdir(tmp_path / "model")) == 2, "the kill came while copying"
    version = versions.publish(source, tmp_path / "model")
    assert sorted(os.listdir(tmp_path / "model")) == ["1", str(version.number)]


def test_publishing_what_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SavedModel to publish"):
        versions.publish(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_publishing_what_is_damaged_leaves_nothing(tmp_path: Path, source: Path) -> None:
    (source / "assets.extra" / "recommender.json").write_text("{")
    with pytest.raises(InputError, match=r"source/assets\.extra/recommender\.json: damaged"):
        versions.publish(source, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_in_the_way_of_the_base_path(tmp_path: Path, source: Path) -> None:
    (tmp_path / "base").write_text("")
    with pytest.raises(InputError, match=r"base/model: a new version can't be written: Not a directory"):
        versions.publish(source, tmp_path / "base" / "model")
    with pytest.raises(InputError, match=r"base/model: can't be written: Not a directory"):
        versions.check_writable(tmp_path / "base" / "model")


def test_an_error_while_copying_leaves_nothing_behind(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_servable(tmp_path / "model" / "1")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions, "_flush", full)
    with pytest.raises(InputError, match=r"model: a new version can't be written: No space left on device.*free space"):
        versions.publish(source, tmp_path / "model")
    assert os.listdir(tmp_path / "model") == ["1"]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    first = versions.publish(make_servable(tmp_path / "small"), small_disk / "model")
    big = make_servable(tmp_path / "big", payload=bytes(2 << 20))
    with pytest.raises(InputError, match=r"disk/model: a new version can't be written: No space left on device"):
        versions.publish(big, small_disk / "model")
    assert os.listdir(small_disk / "model") == [str(first.number)]


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    versions.check_writable(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_writable_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        versions.check_writable(tmp_path / "a")


def test_check_writable_where_nobody_can_write() -> None:
    with pytest.raises(InputError, match=r"/proc/model: can't be written"):
        versions.check_writable("/proc/model")


@pytest.mark.parametrize(
    ("base_path", "name", "message"),
    [("hdfs://models", "m", "local or mounted"), ("/models", "../m", "plain directory name"), ("/m", "", "plain")],
)
def test_model_dir_refuses(base_path: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        versions.model_dir(base_path, name)


def test_the_newest_event_of_a_version(tmp_path: Path) -> None:
    path = make_servable(tmp_path / "7") / versions.DATA_PROFILE
    assert versions.newest_event(tmp_path / "7") is None
    path.write_text('{"log": {"last": 1767323045000000}}')
    newest = versions.newest_event(tmp_path / "7")
    assert newest is not None
    assert newest.isoformat() == "2026-01-02T03:04:05+00:00"
    for without in ('{"log": null}', '{"log": {"last": null}}'):
        path.write_text(without)
        assert versions.newest_event(tmp_path / "7") is None
    path.write_text('{"log"')
    with pytest.raises(InputError, match=r"data_profile\.json: damaged"):
        versions.newest_event(tmp_path / "7")


def test_importing_versions_is_cheap() -> None:
    script = "import sys, components.versions; print('tensorflow' in sys.modules, 'tfx' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["False", "False"]
