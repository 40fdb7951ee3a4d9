"""What there is to say of a kind of metric, in one place: the settings, the evaluation and the report go by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class Lists:
    """What models recommended to B users, as metrics of the answers see it."""

    rows: np.ndarray
    """[B, k] int, rows of the recommended items; negative ones are padding."""
    events: np.ndarray
    """[N] int, training events of each item of the catalogue."""
    features: sparse.csr_array | None
    """[N, F] float, what categories the items have, in vectors of length 1; None where there are none."""
    past: sparse.csr_array | None
    """[B, F] float, ones for the categories of the histories."""


@dataclass(frozen=True)
class Metric:
    """A kind of metric; `name@k`, cut after k items, is one metric of the report."""

    name: str
    of: Literal["rank", "answer", "exposure"]
    """What `compute` takes and returns.

    rank: ranks [N] int of the relevant items, from 0, and k, to [N] float, of which the metric is the mean;
    answer: `Lists` to [B] float, NaN where there is no value, of which the metric is the mean;
    exposure: how often each item of the catalogue is recommended, [N] int, to a float.
    """
    compute: Callable[..., Any]
    label: str
    """What people call it, before `@k`."""
    meaning: str
    """A sentence's part for the report."""
    cutoffs: str = "list_ks"
    """The key of the Evaluator's settings that has its k; empty: it is cut where the models' answers end."""
    more_is_better: bool = True
    """Whether there may be thresholds on it."""
    by_features: bool = False
    """Whether it needs features of the items."""
    digits: int = 4
    """Digits behind the point that are shown."""
    unit: str = ""
    """What it counts, where its charts shall say so."""
