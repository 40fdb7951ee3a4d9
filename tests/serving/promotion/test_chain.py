"""The audit trail as a chain: what was changed, removed, moved, copied or forged is named by its line."""

from __future__ import annotations

import hashlib
import json
from typing import Optional

import pytest

from serving.promotion import chain
from serving.promotion.chain import Head


def trail(*ids: str, before: bytes = b"") -> tuple[list[bytes], Head]:
    """The lines of a trail, and its noted end."""
    lines: list[bytes] = []
    hashed = hashlib.sha256(before).hexdigest()
    for name in ids:
        line, hashed = chain.seal({"id": name}, hashed)
        lines.append(line)
    return lines, Head(hashed)


LINES, HEAD = trail("a", "b", "c", "d")
A, B, C, D = LINES
ELSE = "doesn't follow on the one before it: lines were removed, changed or moved"
CHANGED = "was changed after it was written"
FORGED = "has no hash, as lines before it have: promotion didn't write it"
AFTER = "was written after the noted end: promotion didn't write it"
MISSING = "the last lines are missing: it ended with another one"


def join(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def test_a_line_has_the_hash_of_its_bytes() -> None:
    zeros = "0" * 64
    line, hashed = chain.seal({"id": "\u00e9"}, zeros)
    body = f'{{"id": "\u00e9", "previous": "{zeros}"}}'.encode()
    assert hashed == hashlib.sha256(body).hexdigest()
    assert line == body[:-1] + b', "hash": "%s"}' % hashed.encode()
    assert json.loads(line) == {"id": "\u00e9", "previous": zeros, "hash": hashed}


def test_a_trail_as_it_was_written() -> None:
    found = chain.verify(join(*LINES), HEAD)
    assert found == chain.Verified(4, 0, (), HEAD.hash, (), frozenset())
    assert chain.verify(b"", None) == chain.Verified(0, 0, (), "", (), frozenset())


def edited(line: bytes) -> bytes:
    return line.replace(b'"id": "', b'"id": "x')


def resealed(line: bytes) -> bytes:
    content = json.loads(line)
    return chain.seal({"id": "x"}, content["previous"])[0]


@pytest.mark.parametrize(
    ("lines", "faults", "forged"),
    [
        ([A, edited(B), C, D], [(2, CHANGED)], {2}),
        ([edited(A), B, C, D], [(1, CHANGED)], {1}),
        ([A, B, C, edited(D)], [(4, CHANGED), (None, MISSING)], {4}),
        ([A, B + b" ", C, D], [(2, FORGED), (3, ELSE)], {2}),
        ([A, resealed(B), C, D], [(3, ELSE)], set()),
        ([A, C, D], [(2, ELSE)], set()),
        ([B, C, D], [(1, ELSE)], set()),
        ([A, B, C], [(None, MISSING)], set()),
        ([], [(None, MISSING)], set()),
        ([A, C, B, D], [(2, ELSE), (3, ELSE), (4, ELSE)], set()),
        ([A, B, B, C, D], [(3, "is a copy of line 2")], {3}),
        ([A, B, C, D, A], [(5, "is a copy of line 1")], {5}),
        ([A, b'{"id": "x"}', B, C, D], [(2, FORGED)], {2}),
        ([b'{"id": "x"}', A, B, C, D], [(2, ELSE)], set()),
        ([*LINES, chain.seal({"id": "x"}, HEAD.hash)[0]], [(5, AFTER)], {5}),
        ([A, b"\x00", C, D], [(3, ELSE)], set()),
    ],
)
def test_what_was_done_to_it_is_named_by_its_line(
    lines: list[bytes], faults: list[tuple[Optional[int], str]], forged: set[int]
) -> None:
    found = chain.verify(join(*lines), HEAD)
    assert ([tuple(fault) for fault in found.faults], found.forged) == (faults, forged)


def test_the_file_that_notes_the_end_is_missing() -> None:
    found = chain.verify(join(A, B), None)
    assert [str(fault) for fault in found.faults] == [
        "the file that notes the end is missing, so that lines may be missing there"
    ]
    assert chain.end_of(join(A, B), None).hash == json.loads(B)["hash"]


def test_a_line_that_was_being_written() -> None:
    hashes = [json.loads(line)["hash"] for line in LINES]
    pending = Head(hashes[2], hashes[3])
    for content in (join(A, B, C), join(A, B, C) + D[:20], join(*LINES), join(*LINES)[:-1]):
        assert chain.verify(content, pending).faults == ()
    assert chain.verify(join(A, B, C) + D[:20], pending).torn == (4,)
    assert [str(fault) for fault in chain.verify(join(A, B), pending).faults] == [MISSING]
    assert chain.end_of(join(A, B, C) + D[:20], pending) == Head(hashes[2])
    assert chain.end_of(join(*LINES), pending) == Head(hashes[3])


def test_a_line_after_others_were_taken_off_shows_it() -> None:
    end = chain.end_of(join(A, B), HEAD)
    assert end == HEAD
    line, hashed = chain.seal({"id": "e"}, end.hash)
    assert [tuple(fault) for fault in chain.verify(join(A, B, line), Head(hashed)).faults] == [(3, ELSE)]


def test_lines_without_a_hash_before_the_first_one_with_it() -> None:
    old = b'{"id": "o"}\n{"id": "p"\n'
    lines, head = trail("a", before=old)
    assert chain.verify(old + join(*lines), head) == chain.Verified(3, 1, (2,), head.hash, (), frozenset())
    changed = chain.verify(old.replace(b"o", b"q") + join(*lines), head)
    assert [tuple(fault) for fault in changed.faults] == [(3, ELSE)]
