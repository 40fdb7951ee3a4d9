"""Who is at work on an output; and one in an object store is fetched before the work, and put back after it.

TensorFlow, TFX, TFT and TFDV read no s3://, so all work is done on files, in a folder of this machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from components.errors import LockedError
from pipeline.config import Config
from pipeline.local.lock import lock
from pipeline.local.mirror import Mirror
from serving.stores import Lease, ObjectPath, StoreError


@contextlib.contextmanager
def working(config: Config, root: Path) -> Iterator[Callable[[], None]]:
    """Keeps others out of an output, on all machines if it is in an object store; what a store has is fetched first,
    and what came of the work put there at last, whatever the end.

    Args:
        config: The config.
        root: Its folder here.

    Yields:
        Puts what there is by now into the store, to be called between two nodes.

    Raises:
        LockedError: Another process is at work there.
        StoreError: The store can't be reached, or the lock was lost.
    """
    place = config.place()
    with lock(root), contextlib.ExitStack() as held:
        if not isinstance(place, ObjectPath):
            yield lambda: None
            return
        mirror = Mirror(place, root, held.enter_context(lock(place)))
        mirror.fetch()
        from pipeline.local.cache_keys import named_as  # TFX: seconds

        held.enter_context(named_as(str(root), str(place)))
        try:
            with mirror.watching():
                yield mirror.put
        except StoreError:
            raise
        except BaseException:
            with contextlib.suppress(OSError):  # the first error counts
                mirror.put()
            raise
        mirror.put()


def refresh(config: Config, only: Collection[str] = ()) -> None:
    """Fetches what an object store has of an output, to be read; not while a process of this machine is at work on it.

    Args:
        config: The config.
        only: Files and folders; by default all.
    """
    place, root = config.place(), config.folder()
    if isinstance(place, ObjectPath):
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(LockedError), lock(root):
            Mirror(place, root).fetch(only)


def keep_some(config: Config, lease: Lease | None, trees: Collection[str]) -> None:
    """Puts files and folders of an output into its object store, by a lease that keeps others from them; does nothing
    without one, as for an output on disk."""
    place = config.place()
    if isinstance(place, ObjectPath) and lease is not None:
        Mirror(place, config.folder(), lease).put_some(trees)
