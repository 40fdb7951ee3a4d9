"""One run at a time in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from components.errors import LockedError
from components.locks import locked
from serving.stores import AnyPath, Lease


@contextlib.contextmanager
def lock(root: AnyPath, elsewhere: str = "--set output=DIR") -> Iterator[Lease | None]:
    """Keeps a second run out of `root`; lends the lease if that is in an object store.

    Args:
        root: The folder.
        elsewhere: How to run in another one, for the message.

    Raises:
        LockedError: Another run holds it.
    """

    def busy(holder: str) -> None:
        raise LockedError(
            f"{root}: another run is at work here ({holder}); wait for it, or run elsewhere with {elsewhere}"
        )

    with locked(root / ".lock", busy) as lease:
        yield lease
