"""What another version's lists would have brought, estimated from the lists that were served.

By propensities: of lists of which a share is shuffled it is known how likely an item was at each place. A click on an
item that both lists have at the same place counts one over that (IPS), or is held against the weights of the place
(SNIPS). What that assumes is that a click depends on query, item and place alone (the item-position model of Li,
Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen, "Offline evaluation of ranking policies with click models", 2018).

By the position-based model, where nothing was shuffled: a click on an item that moves to another place counts what the
places are looked at, one over the other. That assumes how much they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from components.evaluator.bootstrap import user_weights
from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.examination import PLACES, Examination
from pipeline.feedback.figures import rate, weighted_sums
from pipeline.feedback.outcomes import Outcomes

Candidate = Callable[[pa.Table], tuple[np.ndarray, Sequence[Sequence[str]]]]
"""Of lists [L] it says which can be asked again, bool [L], and what the answers to these are, best first."""

_WEIGHTED, _WEIGHT, _SQUARE, _SUPPORTED, _SLOTS = range(5)


@dataclass
class OffPolicy:
    """Adds up parts.

    Args:
        candidate: The version.
        settings: The largest weight.
        replicates: Of the bootstrap over users.
        examination: How likely places are to be looked at, by the same parts.
    """

    candidate: Candidate
    settings: FeedbackSettings
    replicates: int
    examination: Examination
    sums: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, found: Outcomes) -> None:
        """Adds a part."""
        if not len(found.lists):
            return
        asked, answers = self.candidate(found.lists)
        answer_of = dict(zip(np.flatnonzero(asked).tolist(), answers))
        users = found.lists["user"].combine_chunks().dictionary_encode()
        weights = user_weights(np.array([name.encode() for name in users.dictionary.to_pylist()]), self.replicates)
        user = users.indices.to_numpy(zero_copy_only=False)
        explored, first, order = (found.lists[name].to_pylist() for name in ("explored", "first", "order"))
        shown: dict[int, dict[str, tuple[int, bool]]] = {row: {} for row in answer_of}
        for row, place, item, clicked in zip(
            found.list_of.tolist(), found.place.tolist(), found.item.to_pylist(), found.clicked.tolist()
        ):
            if row in shown:
                shown[row].setdefault(item, (place, clicked))
        lists, slots, moves = [], [], []
        for row, answer in answer_of.items():
            there, share = shown[row], explored[row] or 0.0
            clicks = sum(clicked for _, clicked in there.values())
            lists.append((row, 0, 1, clicks, bool(share), bool(share) * clicks))
            shuffled = min(first[row] or 0, len(there)) if share else 0
            for place, item in enumerate(answer[: min(len(there), PLACES)]):
                at, clicked = there.get(item, (-1, False))
                if clicked and at < PLACES:
                    moves.append((row, at * PLACES + place, 1))
                if share:
                    likely = 0.0
                    if at >= 0:
                        likely = propensity(order[row][at] if order[row] else at, place, share, shuffled)
                    weight = min(1 / likely, self.settings.clip) if likely and at == place else 0.0
                    slots.append((row, place, weight * clicked, weight, weight**2, likely > 0, 1))
        for name, rows, codes, width in (
            ("lists", lists, 1, 4),
            ("slots", slots, PLACES, 5),
            ("moves", moves, PLACES**2, 1),
        ):
            table = np.array(rows, float).reshape(-1, 2 + width)
            row, code = table[:, 0].astype(int), table[:, 1].astype(int)
            own, code_of = np.unique(code, return_inverse=True)  # most pairs of places never come
            part = np.zeros((self.replicates + 1, codes, width))
            part[:, own] = weighted_sums(user[row], code_of, table[:, 2:], weights, len(own))
            self.sums[name] = self.sums.get(name, 0) + part

    def estimates(self, level: float) -> dict[str, object]:
        """Returns what is estimated of clicks a list, with intervals, and how much there is to go by."""
        if not self.sums or not self.sums["lists"][0, 0, 0]:
            return {"lists": 0}
        lists, clicks, explored, explored_clicks = np.moveaxis(self.sums["lists"][:, 0], -1, 0)
        slots = self.sums["slots"]
        found: dict[str, object] = {
            "lists": int(lists[0]),
            "logged": rate(clicks, lists, level),
            "position_based": rate(self._moved(self.examination.likely()), lists, level),
            "examination": self.examination.shares(),
            "examination_from": self.examination.source,
            "explored_lists": int(explored[0]),
        }
        if explored[0]:
            weighted, weight, square, supported, all_slots = np.moveaxis(slots, -1, 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                by_place = np.where(weight > 0, weighted / weight, 0.0)
            found |= {
                "logged_explored": rate(explored_clicks, explored, level),
                "ips": rate(weighted.sum(1), explored, level),
                "snips": rate(by_place.sum(1), np.ones(len(by_place)), level),
                "effective_sample": float(weight[0].sum() ** 2 / square[0].sum()) if square[0].any() else 0.0,
                "support": float(supported[0].sum() / max(all_slots[0].sum(), 1)),
            }
        return found

    def _moved(self, examined: np.ndarray) -> np.ndarray:
        """Returns the clicks of the candidate's lists by the position-based model, [R + 1]."""
        moves = self.sums["moves"][:, :, 0].reshape(-1, PLACES, PLACES)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = examined[:, np.newaxis, :] / examined[:, :, np.newaxis]
        ratio = np.minimum(np.nan_to_num(ratio, nan=0.0, posinf=np.inf), self.settings.clip)
        result: np.ndarray = (moves * ratio).sum((1, 2))
        return result


def propensity(by_score: int, place: int, share: float, shuffled: int) -> float:
    """Returns how likely an item was to stand at a place.

    Args:
        by_score: Its place by its score, from 0.
        place: The place, likewise.
        share: Of the lists that are shuffled.
        shuffled: So many items of them are, the first.

    >>> propensity(0, 0, 0.5, 2), propensity(0, 1, 0.5, 2), propensity(2, 2, 0.5, 2), propensity(2, 1, 0.5, 2)
    (0.75, 0.25, 1.0, 0.0)
    """
    if by_score < shuffled and place < shuffled:
        return (by_score == place) * (1 - share) + share / shuffled
    return float(by_score == place)
