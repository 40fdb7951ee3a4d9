"""How often a trial that is judged each night is judged wrongly, and after how many users: simulated trials.

`python -m benchmarks.trial` prints the table of docs/operations.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from pipeline.feedback.trial import Decision, Rules, Users, decide

Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""The counts of users, of each of whom it is known what they are of the usual, [U]."""

_NIGHTLY = 1.959964
"""Standard errors beyond which a test of fixed size at 0.05 sees a difference."""


def clicks(chance: np.random.Generator, of_usual: np.ndarray) -> np.ndarray:
    """Clicks of users of whom some click a lot: 1 on average, variance 3."""
    return chance.poisson(chance.gamma(0.5, 2.0, len(of_usual)) * of_usual)


def conversions(chance: np.random.Generator, of_usual: np.ndarray) -> np.ndarray:
    """One user in fifty converts."""
    return (chance.random(len(of_usual)) < 0.02 * of_usual).astype(np.int64)


@dataclass(frozen=True)
class Trials:
    """What came of many."""

    decisions: dict[Decision, float]
    """Shares of the trials."""
    users: int | None
    """The median of those decided."""
    nightly_stops: float
    """Share that a test of fixed size at 0.05 would have stopped on some night."""


def simulate(draw: Draw, share: float, effect: float, nights: int, a_night: int, trials: int, rules: Rules) -> Trials:
    """Simulates trials.

    Args:
        draw: What users do.
        share: The canary's of the users.
        effect: How much more its users do, as a share.
        nights: After so many the trial ends undecided.
        a_night: How many users more each night has.
        trials: How many.
        rules: By which they are decided.
    """
    decisions: Counter[Decision] = Counter()
    users, nightly = [], 0
    for number in range(trials):
        chance = np.random.default_rng(number)
        is_canary = chance.random(nights * a_night) < share
        counts = draw(chance, np.where(is_canary, 1 + effect, 1.0))
        decision: Decision = "go on"
        stopped = False
        for count in range(a_night, len(counts) + 1, a_night):
            so_far, sides = counts[:count], is_canary[:count]
            if decision == "go on":
                seen = Users(so_far, sides, count, int(sides.sum()), 0.0, 0, {})
                decision = decide(seen, 0, share, rules).decision
                if decision != "go on":
                    users.append(count)
            stopped = stopped or _looks_worse(so_far[sides], so_far[~sides])
            if stopped and decision != "go on":
                break
        decisions[decision] += 1
        nightly += stopped
    shares = {name: decisions[name] / trials for name in get_args(Decision)}
    return Trials(shares, int(np.median(users)) if users else None, nightly / trials)


def _looks_worse(canary: np.ndarray, stable: np.ndarray) -> bool:
    if min((canary > 0).sum(), (stable > 0).sum()) < 20:
        return False
    error = np.sqrt(canary.var() / len(canary) + stable.var() / len(stable))
    return bool(canary.mean() - stable.mean() < -_NIGHTLY * error)


def main() -> None:
    """Prints the table."""
    print(
        "| what users do | share | the canary | promoted | stopped | undecided | median users "
        "| a nightly test stops |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for draw, nights, a_night, trials in ((clicks, 60, 1_000, 500), (conversions, 40, 10_000, 200)):
        for share in (0.5, 0.1):
            for effect in (0.0, -0.1, -0.2, 0.1):
                found = simulate(draw, share, effect, nights, a_night, trials, Rules(min_effect=0.1))
                parts = [f"{value:.1%}" for value in found.decisions.values()]
                users = "–" if found.users is None else f"{found.users:,}"
                print(
                    f"| {draw.__name__} | {share:g} | {effect:+.0%} | {' | '.join(parts)} | {users} | "
                    f"{found.nightly_stops:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
