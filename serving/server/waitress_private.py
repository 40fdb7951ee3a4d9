"""What is changed of waitress beneath its public API: where a line between the chunks of a body ends.

Its patterns for such lines end in `$`, which matches before a last line feed too. So `5`, line feed, CR LF was taken
for the size 5, where a proxy before the server may end the line at the line feed: the two then disagree about where
the request ends, and the rest of a body is a request of its own (request smuggling).

`tests/serving/server/test_waitress_private.py` tells of a release of waitress that does it otherwise.
"""

from __future__ import annotations

import re

from waitress import receiver


def end_lines_strictly() -> None:
    """Takes a line between chunks for ended by CR LF alone, in this process; a second call does nothing."""
    for name in ("CHUNK_EXT_RE", "ONLY_HEXDIG_RE"):
        pattern = getattr(receiver, name).pattern.removesuffix(b"$").removesuffix(rb"\Z")
        setattr(receiver, name, re.compile(pattern + rb"\Z"))
