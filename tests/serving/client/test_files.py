"""A file that changes while the client runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.client import FileFallback, InvalidRequest, RecommenderClient, TrafficFile
from serving.server.ports import free_port


def test_the_fall_back_file_is_read_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.client.files._POLL_SECONDS", 0.0)
    path = tmp_path / "popular.txt"
    with pytest.raises(InvalidRequest, match="no such file"):
        FileFallback(path)
    path.write_text("")
    with pytest.raises(InvalidRequest, match="no item ids"):
        FileFallback(path)
    path.write_text("ä\ntwo words\n", encoding="utf-8")
    fallback = FileFallback(path)
    with RecommenderClient(f"127.0.0.1:{free_port()}", model="m", fallback=fallback, retry=None) as client:
        assert client.recommend().item_ids == ["ä", "two words"]
        path.write_text("1\n2\n3\n")
        assert client.recommend().item_ids == ["1", "2", "3"]
        path.write_bytes(b"\xff\xfe")
        assert client.recommend().item_ids == ["1", "2", "3"]
        path.unlink()
        assert client.recommend().item_ids == ["1", "2", "3"]


def test_a_change_whose_reading_fails_is_read_the_next_time(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.client.files._POLL_SECONDS", 0.0)
    path = tmp_path / "traffic.json"
    path.write_text('{"label": "canary", "share": 1}')
    traffic = TrafficFile(path)
    path.write_text('{"label": "canary", "share": 0.0}')
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        broken.setattr(Path, "read_text", lambda self, **_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        assert traffic.current().share == 1
    assert traffic.current().share == 0
    path.unlink()
    os.mkfifo(path)  # which would never be read to its end
    assert traffic.current().share == 0
