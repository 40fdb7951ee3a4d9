"""Which error is which: the command line tells them apart by their classes."""

from __future__ import annotations

from components.errors import InputError, LockedError


def test_a_held_lock_is_not_wrong_input() -> None:
    assert issubclass(InputError, ValueError), "pydantic and callers who check values take it for one"
    assert not issubclass(LockedError, ValueError)
