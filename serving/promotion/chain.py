"""The audit trail's lines as a chain: each has the hash of the one before it, so that no line changes unseen.

A line ends with its own hash, over all bytes of it before; the first one's `previous` is the hash of what stood in the
file before there were hashes. The end is noted in a file of its own, so that lines can't be taken off unseen either.
Who may write the folder can compute all of it anew: that shows only by a hash that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional

_SEALED = re.compile(rb'(\{.*), "hash": "([0-9a-f]{64})"\}', re.DOTALL)


@dataclass(frozen=True)
class Head:
    """The end of a trail, as it is noted beside it."""

    hash: str
    """Of the last line; empty before there is one."""
    next: str = ""
    """Of the line that is being written, as long as it is."""


class Fault(NamedTuple):
    """What is wrong with a trail."""

    line: Optional[int]
    """Counted from 1; None for the file as a whole."""
    what: str

    def __str__(self) -> str:
        return self.what if self.line is None else f"line {self.line} {self.what}"


@dataclass(frozen=True)
class Verified:
    """What a look at all lines of a trail found."""

    lines: int
    unhashed: int
    """Lines at the beginning, from before there were hashes. The chain says whether they changed since it began."""
    torn: tuple[int, ...]
    """Numbers of lines that a crash left, which count for nothing."""
    hash: str
    """The last line's; empty if there is none."""
    faults: tuple[Fault, ...]
    forged: frozenset[int]
    """Numbers of the lines that promotion can't have written, there or as they are."""


class _Line(NamedTuple):
    previous: str
    hash: str
    """As the line says."""
    genuine: bool
    """Whether that is its hash."""


def seal(content: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """Makes a line, without its end, that follows on another one; returns it and its hash.

    >>> line, hashed = seal({"id": "a"}, "0" * 64)
    >>> line == b'{"id": "a", "previous": "%s", "hash": "%s"}' % (b"0" * 64, hashed.encode())
    True
    """
    body = json.dumps({**content, "previous": previous}, ensure_ascii=False).encode()
    hashed = _hash(body)
    return body[:-1] + f', "hash": "{hashed}"}}'.encode(), hashed


def end_of(content: bytes, head: Optional[Head]) -> Head:
    """What the next line of a trail follows on: the noted end even if that line is gone, so that it shows."""
    written = [found.hash for found in map(_read, content.split(b"\n")) if found and found.genuine]
    if head is None:
        return Head(written[-1] if written else "")
    return Head(head.next if head.next and head.next in written[-1:] else head.hash)


def beginning(content: bytes) -> str:
    """What the first line with a hash follows on: the hash of all that stands before it."""
    return _hash(content)


def resealed(content: bytes, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> tuple[bytes, str]:
    """Writes the lines of a trail without faults anew, in words alone; returns it and the hash of its last line.

    Args:
        content: the trail.
        change: takes what a line says, and returns what it is to say.
    """
    lines: list[bytes] = []
    last = ""
    for line in content.split(b"\n"):
        if _read(line) is not None:
            fields = {key: value for key, value in json.loads(line).items() if key not in ("previous", "hash")}
            line, last = seal(change(fields), last or beginning(b"".join(before + b"\n" for before in lines)))
        elif _is_json(line):
            line = json.dumps(change(json.loads(line)), ensure_ascii=False).encode()
        lines.append(line)
    return b"\n".join(lines), last


def verify(content: bytes, head: Optional[Head]) -> Verified:
    """Looks whether each line is as it was written, and where.

    Args:
        content: the trail.
        head: the noted end.
    """
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    faults: list[Fault] = []
    forged: set[int] = set()
    torn: list[int] = []
    unhashed = 0
    places: dict[str, int] = {}  # of the lines that count
    follows: set[str] = set()  # what the next line may follow on

    def fault(line: int, what: str, forgery: bool = False) -> None:
        faults.append(Fault(line, what))
        if forgery:
            forged.add(line)

    for number, (start, line) in enumerate(_starts(lines), 1):
        found = _read(line)
        if found is None:
            if not _is_json(line):
                torn.append(number)
            elif follows:
                fault(number, "has no hash, as lines before it have: promotion didn't write it", forgery=True)
            else:
                unhashed += 1
            continue
        follows = follows or {beginning(content[:start])}
        if not found.genuine:
            fault(number, "was changed after it was written", forgery=True)
            follows.add(found.hash)  # what follows is right if this is what it says it was
            continue
        if found.hash in places:
            fault(number, f"is a copy of line {places[found.hash]}", forgery=True)
            continue
        if found.previous not in follows:
            fault(number, "doesn't follow on the one before it: lines were removed, changed or moved")
        places[found.hash] = number
        follows = {found.hash}
    last = next(reversed(places), "")
    if head is None:
        if places:
            faults.append(Fault(None, "the file that notes the end is missing, so that lines may be missing there"))
    elif last not in (ends := {head.hash, head.next or head.hash}):
        noted = max((number for hashed, number in places.items() if hashed in ends), default=None)
        if noted is None and head.hash:
            faults.append(Fault(None, "the last lines are missing: it ended with another one"))
        for number in places.values():
            if number > (noted or 0) and (noted is not None or not head.hash):
                fault(number, "was written after the noted end: promotion didn't write it", forgery=True)
    return Verified(len(lines), unhashed, tuple(torn), last, tuple(faults), frozenset(forged))


def _starts(lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line with the place of its first byte."""
    start = 0
    for line in lines:
        yield start, line
        start += len(line) + 1


def _read(line: bytes) -> Optional[_Line]:
    """A line that has a hash; None for any other."""
    match = _SEALED.fullmatch(line)
    if match is None:
        return None
    body = match[1] + b"}"
    try:
        previous = json.loads(body)["previous"]
    except (ValueError, KeyError, TypeError):
        return None
    hashed = match[2].decode()
    return _Line(str(previous), hashed, hashed == _hash(body))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
