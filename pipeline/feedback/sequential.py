"""Whether the users of one group do more than those of another, told while they come and however often one looks.

A test of fixed size that is looked at each night errs far more often than it says. Here the difference of the means
has a confidence sequence: intervals that all hold the truth, at whatever number of users one looks or stops, with
probability 1 - alpha. It is Robbins' normal mixture with an estimated variance, the asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 2024, theorem 2.2); to reject where zero is outside is the mixture sequential
probability ratio test of Johari, Koomen, Pekelis and Walsh ("Always valid inference: continuous monitoring of A/B
tests", Operations Research 2022). That the groups are of the sizes that were drawn is tested likewise (Lindon and
Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022).

What is counted are users, each once and for good: what one user does at several times is not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST = 20
"""Users of each group who did something before anything is decided: means of fewer are not normal."""

_TUNED_TO = 20_000
"""The number of users at which the intervals are the narrowest; ten times as many or as few make them little wider."""
_DRAWN_AS_SAID = 1_000.0
"""The weight, in users, of the belief that the share is what it should be."""
_MISMATCH = 1_000.0
"""At this e-value the groups are not of the sizes that were drawn: once in so many trials by chance."""
_MOST_USERS = 1 << 50


@dataclass(frozen=True)
class Group:
    """What U users of a group did."""

    users: int
    mean: float
    variance: float
    """Of a user."""
    active: int
    """Users with a count above 0."""

    @staticmethod
    def of(counts: np.ndarray) -> Group:
        """Of the count of each user, [U]."""
        if not len(counts):
            return Group(0, 0.0, 0.0, 0)
        return Group(len(counts), float(counts.mean()), float(counts.var()), int((counts > 0).sum()))


@dataclass(frozen=True)
class Difference:
    """How much more the canary's mean user does than the stable version's, with an interval."""

    value: float
    low: float
    high: float


def difference(stable: Group, canary: Group, alpha: float) -> Difference:
    """Returns the difference of means and its interval, which is unbounded as long as a group has too little."""
    value = canary.mean - stable.mean
    if min(stable.active, canary.active) < LEAST:
        return Difference(value, -math.inf, math.inf)
    margin = half_width(_variance(stable, canary), stable.users + canary.users, alpha)
    return Difference(value, value - margin, value + margin)


def half_width(variance: float, users: int, alpha: float) -> float:
    """Returns half the width of the interval.

    Args:
        variance: What a user of both groups adds: that of the difference, times the number of users.
        users: n, of both groups.
        alpha: The probability of error, of both sides and all times.
    """
    logarithm = -2 * math.log(alpha)
    mixture = (logarithm + math.log(logarithm + 1)) / _TUNED_TO  # rho^2
    grown = users * mixture + 1
    return math.sqrt(variance * 2 * grown / (users**2 * mixture) * math.log(math.sqrt(grown) / alpha))


def users_needed(stable: Group, canary: Group, margin: float, alpha: float, share: float | None = None) -> int:
    """Returns how many users of both groups it takes until the interval is no wider than the margin on either side.

    Args:
        stable: Its users so far.
        canary: Likewise.
        margin: Above 0.
        alpha: As in `half_width`.
        share: The canary's share of the users; by default as so far.
    """
    variance = _variance(stable, canary, share)
    return _least(lambda users: half_width(variance, users, alpha) <= margin)


def mismatch(canary: int, users: int, share: float) -> bool:
    """Returns whether so many of the users can't be the canary's if each was drawn with the probability `share`.

    >>> mismatch(480, 10_000, 0.05), mismatch(300, 10_000, 0.05)
    (False, True)
    """
    if not 0 < share < 1:
        return False
    of_canary, of_stable = _DRAWN_AS_SAID * share, _DRAWN_AS_SAID * (1 - share)
    drawn = _log_beta(of_canary + canary, of_stable + users - canary) - _log_beta(of_canary, of_stable)
    return drawn - canary * math.log(share) - (users - canary) * math.log1p(-share) > math.log(_MISMATCH)


def _variance(stable: Group, canary: Group, share: float | None = None) -> float:
    """Returns what a user adds to the difference's variance, were there as many of each group as the share says.

    A small group that has not had its rare great counts yet has too small a variance: of its own and that of both the
    greater one counts.
    """
    users = stable.users + canary.users
    share = canary.users / users if share is None else share
    pooled = (stable.users * stable.variance + canary.users * canary.variance) / users
    return max(stable.variance, pooled) / (1 - share) + max(canary.variance, pooled) / share


def _least(fits: Callable[[int], bool]) -> int:
    """Returns the least number from which on it fits."""
    low, high = 1, 2
    while not fits(high) and high < _MOST_USERS:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
