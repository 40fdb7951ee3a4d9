"""What a day's data are like: the log's figures, the catalogue's, and the statistics of the features.

A version carries the profile of the data that it was made from, so that the next run finds it wherever it runs.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Optional

from tensorflow_metadata.proto.v0 import statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics as Statistics

from components import log_profile
from components.errors import InputError
from components.log_profile import LogProfile

_FORMAT = 1
_JUDGED_AS_FIGURES = frozenset({"user_id", "item_id", "timestamp", "#place", "user_type"})
"""Features whose distribution is not compared: it is told by figures, or moves with every day."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is known of the data of a run."""

    log: Optional[LogProfile]
    """None where the log was read by a version of this project that counted nothing."""
    listed: int
    """Items that the catalogue lists; 0 without a catalogue."""
    unlisted: Optional[float]
    """The share of the log's events that are of other items; None where there is no catalogue or no log."""
    features: Mapping[str, Statistics]
    """TFDV's statistics of the training events and of the catalogue, under "" and "catalogue."; with what is compared
    alone."""

    def missing(self) -> dict[str, float]:
        """The share of the rows that lack it, by feature."""
        found = {}
        for prefix, statistics in self.features.items():
            for feature in statistics.features:
                common = getattr(feature, feature.WhichOneof("stats")).common_stats
                rows = common.num_missing + common.num_non_missing
                if rows:
                    found[prefix + feature.path.step[0]] = common.num_missing / rows
        return found


def compared(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> Statistics:
    """Returns the statistics of the features whose distributions are compared."""
    [dataset] = statistics.datasets
    kept = Statistics(num_examples=dataset.num_examples)
    kept.features.extend(
        feature
        for feature in dataset.features
        if feature.WhichOneof("stats") and feature.path.step[0] not in _JUDGED_AS_FIGURES
    )
    return kept


def to_json(profile: Profile) -> str:
    """Returns the profile as JSON, in which no user and no item is named."""
    return json.dumps(
        {
            "format": _FORMAT,
            "log": None if profile.log is None else json.loads(log_profile.to_json(profile.log.without_ids())),
            "listed": profile.listed,
            "unlisted": profile.unlisted,
            "features": {
                name: base64.b64encode(statistics.SerializeToString(deterministic=True)).decode()
                for name, statistics in profile.features.items()
            },
        }
    )


def from_json(text: str, where: str) -> Optional[Profile]:
    """Reads what `to_json` wrote; None for what a newer version of this project wrote otherwise.

    Args:
        text: It.
        where: Where it lies.

    Raises:
        InputError: It is damaged.
    """
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            return None
        return Profile(
            log=None if content["log"] is None else log_profile.from_json(json.dumps(content["log"])),
            listed=content["listed"],
            unlisted=content["unlisted"],
            features={
                name: Statistics.FromString(base64.b64decode(statistics))
                for name, statistics in content["features"].items()
            },
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: damaged: {error}; remove that version") from error
