"""Downloads: what they write, how far they say they are, and why they fail."""

from __future__ import annotations

import logging
import re
import socket
import time
from pathlib import Path

import pytest

from pipeline.data import sources
from pipeline.data.sources import from_address, from_index


def test_a_file_from_an_address(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    site.content = bytes(300_000)
    from_address(site.url, str(tmp_path / "file"), None)
    assert (tmp_path / "file").read_bytes() == site.content
    assert caplog.messages == [], "it was over at once"
    monkeypatch.setattr(sources, "_INTERVAL_S", 0)
    from_address(site.url, str(tmp_path / "file"), None)
    assert caplog.messages[0] == "downloading: 0.1 of 0.3 MB"
    assert caplog.messages[-1] == "downloading: 0.3 of 0.3 MB"


def test_an_endless_answer_is_given_up(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.content = bytes(300_000)
    monkeypatch.setattr(sources, "_MAX_BYTES", 200_000)
    with pytest.raises(OSError, match="the answer is far too long"):
        from_address(site.url, str(tmp_path / "file"), None)


def test_why_an_address_gives_nothing(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(url: str) -> str:
        try:
            from_address(url, str(tmp_path / "file"), None)
        except OSError as error:
            return str(error)
        return ""

    assert reason(site.url) == "the server answered 404 Not Found"
    monkeypatch.setattr(sources, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.zip"
        assert reason(url) == "not reachable: timed out"
    assert reason(url) == "not reachable: [Errno 111] Connection refused"
    assert reason("http://nobody.invalid/file.zip").startswith("not reachable: [Errno -")
    site.content, site.claimed_length = b"half", 8
    # Requests of urllib3 1 lets that pass, for the digest to find.
    assert reason(site.url) in ("", "not reachable: IncompleteRead(4 bytes read, 4 more expected)")


def test_a_wheel_from_the_index(fake_python: Path, tmp_path: Path) -> None:
    (fake_python / "content").write_bytes(b"a wheel")
    from_index("tiny==1.0")("the package tiny", str(tmp_path / "file"), None)
    assert (tmp_path / "file").read_bytes() == b"a wheel"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (fake_python / "content").unlink()
    reason = "pip: ERROR: No matching distribution found for tiny==1.0"
    with pytest.raises(OSError, match=f"^{re.escape(reason)}$"):
        from_index("tiny==1.0")("the package tiny", str(tmp_path / "file"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.smoke
def test_pip_that_hangs_is_ended(fake_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    (fake_python / "slow").touch()
    monkeypatch.setattr(sources, "_INTERVAL_S", 1)
    monkeypatch.setattr(sources, "_PIP_TIMEOUT_S", 1)
    started = time.monotonic()
    with pytest.raises(OSError, match="pip gave no answer within 1 s"):
        from_index("tiny==1.0")("the package tiny", str(tmp_path / "file"), None)
    assert time.monotonic() - started < 30
    assert caplog.messages == ["pip is downloading, for 1 s now"]
