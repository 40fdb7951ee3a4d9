"""Click and conversion rates by version, label, place, source and slice, with intervals by a bootstrap over users."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from components.evaluator.bootstrap import interval, user_weights
from pipeline.feedback.outcomes import Outcomes

ALL, OTHERS, UNKNOWN = "all", "(others)", "(unknown)"
"""The dimension of everything, values beyond the most that are told, and a value that isn't known."""

LISTS, IMPRESSIONS, CLICKS, CONVERSIONS, CLICKED_LISTS = range(5)
RATES = {
    "click_rate": (CLICKS, IMPRESSIONS),
    "list_click_rate": (CLICKED_LISTS, LISTS),
    "conversion_rate": (CONVERSIONS, IMPRESSIONS),
}
"""What each rate is of what: of an impression that it is clicked, of a list that one of it is, of an impression that it
is converted."""

_MOST = 200
_USERS = 4_096


@dataclass(frozen=True)
class Rate:
    """A share and its interval; None without a bootstrap, or where nothing was shown."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Figures:
    """What became of the lists of one value of a dimension."""

    dimension: str
    value: str
    lists: int
    impressions: int
    clicks: int
    conversions: int
    rates: dict[str, Rate]
    """By the keys of `RATES`."""


@dataclass
class Tally:
    """Adds up parts.

    Args:
        slices: Features of the context.
        replicates: Of the bootstrap.
    """

    slices: Sequence[str]
    replicates: int
    sums: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """By dimension and value, [R + 1, 5] float64."""

    def add(self, found: Outcomes) -> None:
        """Adds a part."""
        lists = found.lists
        if not len(lists):
            return
        count = len(lists)
        per_list = np.zeros((count, 5))
        per_list[:, LISTS] = 1
        for column, of_impressions in (
            (IMPRESSIONS, np.ones(len(found.list_of))),
            (CLICKS, found.clicked),
            (CONVERSIONS, found.converted),
        ):
            per_list[:, column] = np.bincount(found.list_of, of_impressions, minlength=count)
        per_list[:, CLICKED_LISTS] = per_list[:, CLICKS] > 0
        users = lists["user"].combine_chunks().dictionary_encode()
        weights = user_weights(np.array([name.encode() for name in users.dictionary.to_pylist()]), self.replicates)
        user = users.indices.to_numpy(zero_copy_only=False)
        self._add(ALL, [""] * count, user, per_list, weights)
        for name in ("version", "label", "source"):
            self._add(
                name, [UNKNOWN if v is None else str(v) for v in lists[name].to_pylist()], user, per_list, weights
            )
        if self.slices:
            contexts = [json.loads(text) for text in lists["context"].to_pylist()]
            for name in self.slices:
                values = [_shown(context.get(name)) for context in contexts]
                self._add(name, values, user, per_list, weights)
        per_place = np.stack(
            [np.ones(len(found.place)), np.ones(len(found.place)), found.clicked, found.converted, found.clicked],
            axis=1,
        ).astype(float)
        self._add("place", [str(p + 1) for p in found.place.tolist()], user[found.list_of], per_place, weights)

    def _add(
        self, dimension: str, values: list[str], user: np.ndarray, counts: np.ndarray, weights: np.ndarray
    ) -> None:
        """Adds counts [N, 5] of rows with a value and a user each to the replicates, by weights [U, R + 1]."""
        known = {value for name, value in self.sums if name == dimension}
        names: list[str] = []
        for value in dict.fromkeys(values):
            if value in known or len(known) < _MOST:
                known.add(value)
                names.append(value)
        code_of = {name: code for code, name in enumerate(names)}
        code = np.array([code_of.get(value, len(names)) for value in values], np.int64)
        sums = weighted_sums(user, code, counts, weights, len(names) + 1)
        for number, name in enumerate([*names, OTHERS]):
            if name != OTHERS or (code == number).any():
                key = (dimension, name)
                self.sums[key] = self.sums.get(key, 0) + sums[:, number]

    def figures(self, level: float) -> list[Figures]:
        """Returns the figures by dimension in the order that they were added in, the greatest values first."""
        dimensions = list(dict.fromkeys(name for name, _ in self.sums))

        def order(key: tuple[str, str]) -> tuple[int, float, str]:
            dimension, value = key
            by_place = dimension == "place" and value.isdigit()
            return dimensions.index(dimension), int(value) if by_place else -self.sums[key][0, LISTS], value

        return [_figures(*key, self.sums[key], level) for key in sorted(self.sums, key=order)]


def weighted_sums(
    user: np.ndarray, code: np.ndarray, counts: np.ndarray, weights: np.ndarray, codes: int
) -> np.ndarray:
    """Returns what counts add up to in each replicate of the bootstrap.

    Args:
        user: Of each row, int [N], below U.
        code: What it is added to, int [N].
        counts: [N, F].
        weights: How often a user counts in each replicate, [U, R + 1].
        codes: C, how many codes there are.

    Returns:
        float64 [R + 1, C, F].
    """
    width = counts.shape[1]
    sums = np.zeros((weights.shape[1], codes * width))
    by_user = np.argsort(user, kind="stable")
    for first in range(0, len(weights), _USERS):
        rows = by_user[np.searchsorted(user[by_user], first) : np.searchsorted(user[by_user], first + _USERS)]
        some = weights[first : first + _USERS]
        block = np.zeros((len(some), codes, width))
        np.add.at(block, (user[rows] - first, code[rows]), counts[rows])
        sums += some.T.astype(float) @ block.reshape(len(some), -1)
    return sums.reshape(weights.shape[1], codes, width)


def rate(above: np.ndarray, below: np.ndarray, level: float) -> Rate:
    """Returns the ratio of sums, [R + 1] each, the first being the data's own, and its interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = above / below
    if not np.isfinite(ratio[0]):
        return Rate(None)
    if len(ratio) == 1 or np.isnan(ratio[1:]).all():
        return Rate(float(ratio[0]))
    return Rate(float(ratio[0]), *interval(ratio[1:], level))


def _figures(dimension: str, value: str, sums: np.ndarray, level: float) -> Figures:
    own = sums[0].round().astype(int).tolist()
    rates = {name: rate(sums[:, above], sums[:, below], level) for name, (above, below) in RATES.items()}
    return Figures(dimension, value, own[LISTS], own[IMPRESSIONS], own[CLICKS], own[CONVERSIONS], rates)


def _shown(value: object) -> str:
    if value is None or value == []:
        return UNKNOWN
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
