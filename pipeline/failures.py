"""What went wrong, in words for the person at the terminal."""

from __future__ import annotations

from components.errors import InputError


def explain(error: BaseException) -> BaseException:
    """The input's fault behind an error, if there is one, else the error itself.

    Beam and TFX wrap what went wrong; a full disk comes as any of a dozen errors.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, InputError):
            return seen
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, KeyboardInterrupt):
        return InputError("interrupted; run it again to go on from the last node that was done")
    text = str(error)
    if "No space left on device" in text or "database or disk is full" in text or "Disk quota exceeded" in text:
        return InputError("the disk is full; free some space and run it again: the nodes that are done are kept")
    return error
