"""Training rows of what was shown: a table that `data.interactions` reads beside the log, or in front of it.

What was shown and never taken is a negative event; what was taken is the event that the log has, with the place that it
was shown at. Where the log has weights they undo what places do (Joachims, Swaminathan and Schnabel, "Unbiased
learning-to-rank with biased feedback", WSDM 2017): what is taken at a place that is looked at half as often counts
twice, and what is passed over there, which half of the time nobody saw, half.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_gen.settings import InteractionSettings
from components.tables.features import column_of
from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.examination import CLICKS, Examination
from pipeline.feedback.outcomes import Outcomes

POSITION = "position"
"""The column of the places, from 1."""
STRANGERS = "impressions of users whom the log doesn't name"

_EVENT = 3
"""Which of the columns says of what type a row is."""
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Of the units of times that are numbers. Each of these holds a microsecond as a float: dates are below 2^53 of them,
and all files of a log must have the same unit."""
_TYPES = {"category": pa.string(), "text": pa.string(), "number": pa.float64(), "categories": pa.list_(pa.string())}


def why_none(settings: InteractionSettings) -> str:
    """Says why the log of a config can have no such rows; empty if it can."""
    if settings.columns.event is None:
        return "the log has no types of events (data.interactions.columns.event), so no row can say what it is"
    if settings.columns.rating is not None:
        return "the log has ratings (data.interactions.columns.rating), which nobody gave to what was shown"
    return ""


class Rows:
    """Writes the rows of parts.

    Args:
        path: The file.
        log: How the log is read: its columns are the table's.
        unit: In which its times are, see `components.interaction_gen.log.Log`.
        settings: What the negative events are.
    """

    def __init__(self, path: Path, log: InteractionSettings, unit: str, settings: FeedbackSettings) -> None:
        self._path, self._log, self._settings = path, log, settings
        self._microseconds = _MICROSECONDS.get(unit)
        self._weights = log.columns.weight
        self._logarithms = log.weight_transform == "log"
        names = log.columns
        fields = [(names.user_id, pa.string()), (names.item_id, pa.string())]
        time = pa.timestamp("us", "UTC") if self._microseconds is None else pa.float64()
        fields.append((names.timestamp or "timestamp", time))
        fields.append((names.event or "event", pa.string()))
        if self._weights is not None:
            fields.append((self._weights, pa.float64()))
        self._features = {name: one for name, one in log.features.items() if column_of(name, one) != POSITION}
        fields += [(column_of(name, one), _TYPES[one.type]) for name, one in self._features.items()]
        self.schema = pa.schema([*fields, (POSITION, pa.float64())])
        self.negatives = self.positives = 0

    @contextlib.contextmanager
    def writing(self) -> Iterator[Rows]:
        """Lends it while the file is open."""
        with pq.ParquetWriter(self._path, self.schema) as self._writer:
            yield self

    def add(self, found: Outcomes, user_ids: dict[str, str] | None, counts: Counter[str]) -> None:
        """Writes the rows of a part.

        Args:
            found: What became of its lists.
            user_ids: Users by their pseudonyms; None where the log has them by their ids.
            counts: Where it is counted what is left out.
        """
        users = found.lists["user"].to_pylist()
        if user_ids is not None:
            users = [user_ids.get(user) for user in users]
        of = np.array([user is not None for user in users], bool)[found.list_of]
        counts[STRANGERS] += int((~of).sum())
        negative = np.flatnonzero(of & self._passed_over(found))
        times = found.lists["time"].to_numpy()
        self._write(
            found,
            users,
            negative,
            times[found.list_of[negative]],
            [self._settings.impression_event] * len(negative),
            np.ones(len(negative)),
        )
        ascribed = np.flatnonzero(of[found.impression_of])
        events = found.events.take(pa.array(ascribed))
        self._write(
            found,
            users,
            found.impression_of[ascribed],
            events["time"].to_numpy(),
            events["type"].to_pylist(),
            events["weight"].to_numpy(),
        )
        self.negatives += len(negative)
        self.positives += len(ascribed)

    def _passed_over(self, found: Outcomes) -> np.ndarray:
        """Returns which impressions are of items that their user was shown often enough and never took, bool [n]."""
        users = found.lists["user"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        item = found.item.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, pair = np.unique(users[found.list_of] * (item.max(initial=0) + 1) + item, return_inverse=True)
        shown = np.bincount(pair)
        taken = np.bincount(pair, found.clicked | found.converted)
        return (shown[pair] >= self._settings.least_impressions) & (taken[pair] == 0)

    def weigh(self, examination: Examination) -> str:
        """Weighs what was written by the places; returns by what it goes, or "" where rows count alike.

        Clicks of lists in their order are no measure: they would take better items in front for better places.
        """
        if self._weights is None or examination.source == CLICKS:
            return ""
        likely = examination.likely()[0]
        likely = np.append(likely, likely[-1]) / likely.max()  # what is further back counts as the last place does
        heavier = self._path.with_suffix(".weighed")
        with pq.ParquetFile(self._path) as file, pq.ParquetWriter(heavier, self.schema) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                place = np.minimum(table[POSITION].to_numpy().astype(int) - 1, len(likely) - 1)
                passed_over = table[self.schema.names[_EVENT]].to_numpy() == self._settings.impression_event
                with np.errstate(divide="ignore"):
                    taken = np.minimum(1 / likely[place], self._settings.clip)
                own = table[self._weights].to_numpy()
                counts = (np.log1p(own) if self._logarithms else own) * np.where(passed_over, likely[place], taken)
                at = self.schema.get_field_index(self._weights)
                writer.write_table(table.set_column(at, self.schema.field(at), pa.array(self._in_log(counts))))
        heavier.replace(self._path)
        return examination.source

    def _in_log(self, weights: np.ndarray) -> np.ndarray:
        """Returns what a log says of events that are to count so much."""
        return np.expm1(weights) if self._logarithms else weights

    def _write(
        self,
        found: Outcomes,
        users: list[str | None],
        rows: np.ndarray,
        times: np.ndarray,
        types: list[str],
        weights: np.ndarray,
    ) -> None:
        if not len(rows):
            return
        of_list = found.list_of[rows]
        contexts = {row: json.loads(found.lists["context"][row].as_py()) for row in np.unique(of_list).tolist()}
        columns: list[Any] = [
            [users[row] for row in of_list.tolist()],
            found.item.take(pa.array(rows)).cast(pa.string()),
            pa.array(times).cast(pa.timestamp("us", "UTC"))
            if self._microseconds is None
            else pa.array(times / self._microseconds),
            types,
        ]
        if self._weights is not None:
            columns.append(self._in_log(weights))
        columns += [
            [_fitting(contexts[row].get(name), one.type) for row in of_list.tolist()]
            for name, one in self._features.items()
        ]
        columns.append(pc.add(pa.array(found.place[rows]), 1).cast(pa.float64()))
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, kind.type)
            for column, kind in zip(columns, self.schema)
        ]
        self._writer.write_table(pa.table(arrays, schema=self.schema))


def _fitting(value: Any, kind: str) -> Any:
    """A logged feature as the column wants it; None where it is of another type."""
    values = value if isinstance(value, list) else [value]
    if kind == "categories":
        return [str(one) for one in values if one is not None] or None
    last = values[-1] if values else None
    if kind == "number":
        return float(last) if isinstance(last, (int, float)) else None
    return None if last is None else str(last)
