"""A file that changes while the client runs."""

from __future__ import annotations

import pytest

from serving.client import FileFallback, InvalidRequest, RecommenderClient
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
