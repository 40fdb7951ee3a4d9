"""The error of data that are out of the limits."""

from __future__ import annotations

from collections.abc import Sequence


class BreachError(Exception):
    """The data are further from the last pushed version's than the limits of `guards` allow.

    The message names each figure and its limit. The command line exits with 3.

    Args:
        against: What they were held against, in words.
        breaches: A sentence for each limit that is not kept.
    """

    def __init__(self, against: str, breaches: Sequence[str]):
        super().__init__(
            f"the data are out of the limits ({against}):\n"
            + "\n".join(f"  {breach}" for breach in breaches)
            + "\nmend the data, or let this one run through by --accept REASON"
        )
        self.breaches = list(breaches)
