"""Where waitress ends the lines between chunks."""

from __future__ import annotations

import pytest
from waitress import receiver
from waitress.utilities import BadRequest

from serving.server.waitress_private import end_lines_strictly


class _Buffer:
    def __init__(self) -> None:
        self.body = b""

    def append(self, part: bytes) -> None:
        self.body += part

    def __len__(self) -> int:
        return len(self.body)


def _received(body: bytes) -> tuple[bytes, bool]:
    """What a body in chunks comes to, and whether it is refused."""
    buffer = _Buffer()
    received = receiver.ChunkedReceiver(buffer)
    received.received(body)
    return buffer.body, isinstance(received.error, BadRequest)


@pytest.fixture(params=[1, 2], ids=["said once", "said twice"])
def _strict(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHUNK_EXT_RE", "ONLY_HEXDIG_RE"):
        monkeypatch.setattr(receiver, name, getattr(receiver, name))  # so that it is put back
    for _ in range(request.param):
        end_lines_strictly()


@pytest.mark.usefixtures("_strict")
@pytest.mark.parametrize("size", [b"5\n", b"5;name=value\n"], ids=["size", "extension"])
def test_a_line_feed_before_the_end_of_a_line_is_refused(size: bytes) -> None:
    assert _received(size + b"\r\nfirst\r\n0\r\n\r\n")[1]


@pytest.mark.usefixtures("_strict")
@pytest.mark.parametrize("size", [b"5", b"5;name=value"], ids=["size", "extension"])
def test_other_lines_are_taken_as_before(size: bytes) -> None:
    assert _received(size + b"\r\nfirst\r\n0\r\n\r\n") == (b"first", False)
