"""When a client looks at its certificates' files, and what counts; tests/serving/client/test_tls.py has connections."""

from __future__ import annotations

import logging

import pytest

from serving.client import InvalidRequest, Tls
from serving.client.certificates import Certificates

pytestmark = pytest.mark.smoke


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("serving.client.certificates.time.monotonic", lambda: now[0])
    return now


def read(tls: Tls) -> bytes:
    found = tls.read("ca")
    assert found is not None
    if b"bad" in found:
        raise InvalidRequest(f"tls: {found!r}")
    return found


def test_files_are_looked_at_once_a_second(tmp_path, now):
    path = tmp_path / "ca.pem"
    path.write_text("one")
    found = Certificates(Tls(ca=str(path)), read)
    first = found.current()
    path.write_text("other")
    now[0] += 0.9
    assert found.current() is first
    now[0] += 0.2
    assert found.current() == b"other"
    now[0] += 2
    assert found.current() is found.current(), "the same as long as they haven't changed"


def test_what_cannot_be_used_changes_nothing_and_is_told_once(tmp_path, now, caplog):
    path = tmp_path / "ca.pem"
    path.write_text("one")
    found = Certificates(Tls(ca=str(path)), read)
    with caplog.at_level(logging.WARNING, "serving.client"):
        path.write_text("bad")
        for _ in range(3):
            now[0] += 2
            assert found.current() == b"one"
        assert [record.getMessage() for record in caplog.records] == [
            "tls: b'bad'; what the files said before stays in force"
        ]
        path.unlink()
        now[0] += 2
        assert found.current() == b"one"
        assert "can't be read: No such file" in caplog.records[-1].getMessage()
    path.write_text("two")
    now[0] += 2
    assert found.current() == b"two"


def test_what_changes_while_it_is_read_is_read_again(tmp_path, now):
    path = tmp_path / "ca.pem"
    path.write_text("one")

    def slowly(tls: Tls) -> bytes:
        content = read(tls)
        if content == b"second":
            path.write_text("third")
        return content

    found = Certificates(Tls(ca=str(path)), slowly)
    path.write_text("second")
    now[0] += 2
    assert found.current() == b"one"
    now[0] += 2
    assert found.current() == b"third"
