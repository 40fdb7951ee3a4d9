"""W3C's trace context: which requests of several programs belong together (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple, Optional

HEADER = "traceparent"
"""HTTP's header and gRPC's metadata that has it."""
STATE = "tracestate"
"""The header of what tracing systems add."""
REQUEST_ID = "x-request-id"
"""The header in which a request may have an id of its caller's own."""

_FORMAT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceParent(NamedTuple):
    """A request of a trace."""

    trace_id: str
    """32 hexadecimal digits."""
    parent_id: str
    """16 hexadecimal digits: the span that asks."""
    flags: int = 0
    """1 if who asks records the trace."""

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags:02x}"

    def sibling(self) -> TraceParent:
        """Another request of the same trace."""
        return self._replace(parent_id=secrets.token_hex(8))


def new() -> TraceParent:
    """A trace that nobody records.

    Its ids don't come from `random`, which programs seed.
    """
    return TraceParent(secrets.token_hex(16), secrets.token_hex(8))


def parse(text: Optional[str]) -> Optional[TraceParent]:
    """Reads a header's value; None for what isn't one, and begins no trace."""
    found = _FORMAT.fullmatch(text or "")
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceParent(found[2], found[3], int(found[4], 16))
