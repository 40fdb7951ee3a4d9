"""How likely each place of a list is to be looked at: the examination of the position-based model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.evaluator.bootstrap import user_weights
from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.figures import weighted_sums
from pipeline.feedback.outcomes import Outcomes

PLACES = 50
"""Those that are told apart; what stands further back is left out."""
GIVEN, SHUFFLED, CLICKS = "feedback.examination", "shuffled lists", "clicks of all lists by place"
"""Where it is from."""

_LEAST = 1e-9
_SHOWN, _CLICKED, _DRAWN, _DRAWN_CLICKED = range(4)


class Examination:
    """Adds up parts.

    Where lists are shuffled every place shows the same items on average, so that clicks by place tell what places do
    (Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback", WSDM 2017). Clicks of lists
    in their order tell too much of it, because better items stand in front.

    Args:
        settings: What is known of it.
        replicates: Of the bootstrap over users.
    """

    def __init__(self, settings: FeedbackSettings, replicates: int) -> None:
        self._given = settings.examination
        self._replicates = replicates
        self._sums = np.zeros((replicates + 1, PLACES, 4))

    def add(self, found: Outcomes) -> None:
        """Adds a part."""
        if not len(found.place):
            return
        lists = found.lists
        users = lists["user"].combine_chunks().dictionary_encode()
        weights = user_weights(np.array([name.encode() for name in users.dictionary.to_pylist()]), self._replicates)
        first = pc.if_else(pc.is_valid(lists["order"]), pc.fill_null(lists["first"], 0), pa.scalar(0, pa.int64()))
        drawn = found.place < first.to_numpy()[found.list_of]
        counts = np.stack([np.ones(len(drawn)), found.clicked, drawn, drawn & found.clicked], axis=1).astype(float)
        there = found.place < PLACES
        user = users.indices.to_numpy(zero_copy_only=False)[found.list_of]
        self._sums += weighted_sums(user[there], found.place[there], counts[there], weights, PLACES)

    @property
    def source(self) -> str:
        """What it goes by."""
        if self._given:
            return GIVEN
        return SHUFFLED if self._sums[0, :, _DRAWN_CLICKED].any() else CLICKS

    def likely(self) -> np.ndarray:
        """Returns how likely each place is to be looked at, up to a factor, float64 [R + 1, PLACES]."""
        if self._given:
            given = np.array([*self._given, *[self._given[-1]] * PLACES])
            return np.tile(given[:PLACES], (self._replicates + 1, 1))
        by_clicks = self._rate(_CLICKED, _SHOWN)
        if self.source == CLICKS:
            return by_clicks
        likely = self._rate(_DRAWN_CLICKED, _DRAWN)
        last = int(np.flatnonzero(self._sums[0, :, _DRAWN])[-1])
        # Further back than lists are shuffled it falls as clicks do from there on.
        falls = by_clicks[:, last + 1 :] / np.maximum(by_clicks[:, [last]], _LEAST)
        likely[:, last + 1 :] = likely[:, [last]] * np.minimum(falls, 1)
        return likely

    def _rate(self, above: int, below: int) -> np.ndarray:
        found: np.ndarray = self._sums[..., above] / np.maximum(self._sums[..., below], 1)
        return found

    def shares(self) -> list[float]:
        """Returns it of each place that anything was shown at, as a share of that which is looked at most."""
        likely, shown = self.likely()[0], self._sums[0, :, _SHOWN]
        count = int(np.flatnonzero(shown).max(initial=0)) + 1
        shares: list[float] = (likely / (likely.max() or 1.0)).round(4).tolist()
        return shares[:count]
