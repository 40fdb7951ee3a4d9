"""A version that is asked again what was asked when lists were logged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.errors import InputError
from components.examples.context import feature_types, serialize
from components.examples.reading import Features
from components.versions import describe
from pipeline.batch.answers import Wish
from pipeline.batch.queries import SCHEMA, TIMESTAMP
from serving import contract

RULED = "lists with rules, of which the log does not have what they were"
CUT = "lists whose history was not logged whole"
FALLBACK = "fall-back lists"
KNOWN = "lists from before the end of the candidate's own training events"

_PLACES = 50
_FALLBACK_SOURCE = "fallback"
"""See `serving.client.results.RecommendationList.source`."""


class AskedAgain:
    """Asks a version for the lists that can be asked again.

    Args:
        model: The version's folder.
        counts: Where it is counted what can't be asked, by reason.

    Raises:
        InputError: It is no version of a recommender.
    """

    def __init__(self, model: Path, counts: Counter[str]) -> None:
        about = describe(model)
        if "max_k" not in about:
            raise InputError(f"{model}: no servable of this pipeline: it lacks {contract.MANIFEST}")
        from pipeline.batch.asking import Recommender  # TensorFlow: seconds

        self.user_ids: Mapping[str, str] = {}
        """Users of the part by their pseudonyms. One that is nobody's is asked as it is: the version knows no more."""
        self.trained_until = _trained_until(model)
        self._asker = Recommender(model)
        self._features = feature_types(about.get("context", ()))
        self._wish = Wish(min(_PLACES, about["max_k"]))
        self._counts = counts

    def __call__(self, lists: pa.Table) -> tuple[np.ndarray, Sequence[Sequence[str]]]:
        """See `pipeline.feedback.off_policy.Candidate`."""
        rows = lists.to_pylist()
        reasons = [self._why_not(row) for row in rows]
        self._counts.update(reason for reason in reasons if reason)
        asked = np.array([not reason for reason in reasons], bool)
        if not asked.any():
            return asked, []
        queries = pa.Table.from_pylist([self._query(row) for row, reason in zip(rows, reasons) if not reason], SCHEMA)
        found = self._asker.answer(queries, self._wish).rows
        ids = self._asker.found["item_id"]
        return asked, [ids.take(pa.array(row[row >= 0])).to_pylist() for row in found]

    def _why_not(self, row: Mapping[str, Any]) -> str:
        if row["ruled"]:
            return RULED
        if row["history_length"] > len(row["history"]):
            return CUT
        if row["source"] == _FALLBACK_SOURCE:
            return FALLBACK
        return KNOWN if self.trained_until is not None and row["time"] <= self.trained_until else ""

    def _query(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "user_id": self.user_ids.get(row["user"], row["user"]),
            "history": row["history"],
            "exclude": [],
            "context": serialize(context_of(row, self._features), self._features),
        }


def context_of(row: Mapping[str, Any], features: Features) -> dict[str, list[Any]]:
    """Returns the features that a model takes of a logged list, of their types; its time is when it was asked."""
    logged = json.loads(row["context"])
    found: dict[str, list[Any]] = {}
    for name, kind in features.items():
        value = row["time"] if name == TIMESTAMP and TIMESTAMP in logged else logged.get(name)
        values = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
        if kind is bytes:
            found[name] = [str(one).encode() for one in values]
        else:
            found[name] = [kind(one) for one in values if isinstance(one, (int, float))]
    return {name: values for name, values in found.items() if values}


def _trained_until(model: Path) -> int | None:
    """The time of the newest event that a version was made from, in microseconds; None where it doesn't say."""
    from components.data_profile import IN_VERSION  # TFX: seconds

    path = model / IN_VERSION
    if not path.is_file():
        return None
    from components.guards.profile import from_json

    profile = from_json(path.read_text("utf-8"), str(path))
    return None if profile is None or profile.log is None else profile.log.last
