"""Life of versions: the newest that loads serves; nothing takes it down but a better one."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from serving.server.status import StatusError
from serving.server.versions import VersionManager


class FakeModel:
    """Loaded from a folder whose file `model` holds `ok`."""

    def __init__(self, path: str):
        content = Path(path, "model").read_text(encoding="utf-8")
        if content != "ok":
            raise ValueError(f"bad model: {content}")
        self.path = path
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def manager(tmp_path):
    return VersionManager("m", str(tmp_path), FakeModel)


def put(base: Path, name: str, content: str = "ok") -> None:
    (base / name).mkdir()
    (base / name / "model").write_text(content, encoding="utf-8")


def states(manager: VersionManager) -> dict[int, str]:
    return {state.version: state.state for state in manager.states()}


def test_the_newest_serves(manager, tmp_path):
    for name in ("2", "10", "9"):
        put(tmp_path, name)
    manager.poll()
    assert manager.current_version == 10
    assert states(manager) == {10: "AVAILABLE"}
    with manager.acquire() as (version, model):
        assert (version, model.path) == (10, str(tmp_path / "10"))


def test_what_is_no_version_is_ignored(manager, tmp_path):
    for name in ("tmp", "-1", "1.5", "²", ".publish-3", "99999999999999999999"):
        put(tmp_path, name)
    (tmp_path / "5").write_text("a file")
    manager.poll()
    assert manager.current_version is None
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(m\)"), manager.acquire():
        pass
    put(tmp_path, "007")
    manager.poll()
    assert manager.current_version == 7


def test_a_newer_version_replaces_the_older(manager, tmp_path):
    put(tmp_path, "1")
    manager.poll()
    with manager.acquire() as (_, old):
        pass
    put(tmp_path, "2")
    manager.poll()
    manager._close_drained()
    assert old.closed
    assert states(manager) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(StatusError, match=r"Specific\(m, 1\)"), manager.acquire(1):
        pass
    with manager.acquire(2) as (version, _):
        assert version == 2


def test_requests_finish_on_the_version_they_began_on(manager, tmp_path):
    put(tmp_path, "1")
    manager.poll()
    with manager.acquire() as (_, old):
        put(tmp_path, "2")
        manager.poll()
        manager._close_drained()
        assert not old.closed
        assert states(manager) == {2: "AVAILABLE", 1: "UNLOADING"}
        with manager.acquire() as (version, _):
            assert version == 2
    manager._close_drained()
    assert old.closed


def test_a_corrupt_version_is_logged_once_and_never_takes_the_older_down(manager, tmp_path, caplog):
    put(tmp_path, "1")
    manager.poll()
    put(tmp_path, "2", "garbage")
    with caplog.at_level(logging.ERROR, "serving.server"):
        for _ in range(3):
            manager.poll()
    assert manager.current_version == 1
    assert len(caplog.records) == 1
    assert "version 2" in caplog.text
    assert "version 1 goes on serving" in caplog.text
    newest = manager.states()[0]
    assert (newest.version, newest.state, newest.code.name, newest.message) == (
        2,
        "END",
        "UNKNOWN",
        "bad model: garbage",
    )


def test_a_half_copied_version_serves_once_it_is_whole(manager, tmp_path, caplog):
    put(tmp_path, "1")
    (tmp_path / "2").mkdir()
    with caplog.at_level(logging.ERROR, "serving.server"):
        manager.poll()
        assert manager.current_version == 1
        (tmp_path / "2" / "model").write_text("half", encoding="utf-8")
        manager.poll()
        assert manager.current_version == 1
        (tmp_path / "2" / "model").write_text("ok", encoding="utf-8")
        manager.poll()
    assert manager.current_version == 2
    assert len(caplog.records) == 1


def test_the_next_older_serves_when_the_newest_is_corrupt_from_the_start(manager, tmp_path):
    put(tmp_path, "1")
    put(tmp_path, "2", "garbage")
    manager.poll()
    assert manager.current_version == 1


def test_removing_the_newest_goes_back(manager, tmp_path):
    put(tmp_path, "1")
    put(tmp_path, "2")
    manager.poll()
    (tmp_path / "2" / "model").unlink()
    (tmp_path / "2").rmdir()
    manager.poll()
    assert manager.current_version == 1


def test_the_last_version_goes_on_serving_when_its_folder_is_gone(manager, tmp_path):
    put(tmp_path, "1")
    manager.poll()
    (tmp_path / "1" / "model").unlink()
    (tmp_path / "1").rmdir()
    manager.poll()
    tmp_path.rmdir()
    manager.poll()
    assert manager.current_version == 1


def test_failed_versions_are_forgotten_when_removed(manager, tmp_path, caplog):
    put(tmp_path, "3", "garbage")
    manager.poll()
    (tmp_path / "3" / "model").unlink()
    (tmp_path / "3").rmdir()
    manager.poll()
    put(tmp_path, "3", "ok")
    manager.poll()
    assert manager.current_version == 3


def test_the_thread_finds_new_versions_and_stops(tmp_path):
    changed = threading.Event()
    manager = VersionManager("m", str(tmp_path), FakeModel, poll_seconds=0.02, on_change=changed.set)
    manager.start()
    assert not manager.wait(0.1)
    put(tmp_path, "1")
    assert manager.wait(5)
    assert changed.wait(5)
    with manager.acquire() as (_, model):
        pass
    manager.stop(5)
    assert model.closed
    assert manager.current_version is None


def test_polling_once(tmp_path):
    manager = VersionManager("m", str(tmp_path), FakeModel, poll_seconds=0)
    put(tmp_path, "1")
    manager.start()
    assert manager.wait(5)
    put(tmp_path, "2")
    time.sleep(0.1)
    assert manager.current_version == 1
    manager.stop(5)


def test_remembers_only_so_many_ends(manager, tmp_path):
    for number in range(1, 60):
        put(tmp_path, str(number))
        manager.poll()
        manager._close_drained()
    assert manager.current_version == 59
    assert len(manager.states()) == 51
