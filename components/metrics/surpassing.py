"""Which of several ways does better than the usual one, beyond what chance may do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def surpassing(gains: Sequence[np.ndarray], errors: float = 1.0) -> int:
    """The place of what leads the first most, with standard errors of the lead taken off; 0 where nothing does.

    Args:
        gains: for each way what the same Q queries gain, [Q].
        errors: how many standard errors; the more ways are tried, the more of them.
    """
    leads = [lead.mean() - errors * lead.std() / len(lead) ** 0.5 for lead in (gain - gains[0] for gain in gains[1:])]
    return int(np.argmax([0.0, *leads]))  # of equals the first
