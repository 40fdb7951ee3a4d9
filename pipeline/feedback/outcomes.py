"""What became of the lists of a part: impressions, the clicks and conversions that are ascribed to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.feedback import FeedbackSettings
from pipeline.feedback.join import ascribe
from pipeline.feedback.parts import CLICK, CONVERSION, Part

TWICE = "lists that client and server both logged"
COPIES = "copies of lists, such as of a log that is there twice"
YOUNG = "lists whose window is not over yet"

_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Outcomes:
    """Lists [L], their impressions [n] in the order of lists and places, and the events [m] that are ascribed to
    one."""

    lists: pa.Table
    list_of: np.ndarray
    """The list of each impression, int64 [n]."""
    place: np.ndarray
    """Its place in it, from 0, int64 [n]."""
    item: pa.DictionaryArray
    """Its item [n]."""
    clicked: np.ndarray
    """Whether a click is ascribed to it, bool [n]."""
    converted: np.ndarray
    """Whether a conversion is, bool [n]."""
    events: pa.Table
    """`parts.EVENTS` [m]."""
    impression_of: np.ndarray
    """The impression of each of them, int64 [m]."""


def windows(settings: FeedbackSettings) -> tuple[int, int]:
    """Returns the windows of clicks and conversions in microseconds."""
    click = settings.window_hours
    conversion = settings.conversion_window_hours
    return round(click * _HOUR), round((click if conversion is None else conversion) * _HOUR)


def outcomes(part: Part, settings: FeedbackSettings, newest: int, counts: Counter[str]) -> Outcomes:
    """Joins lists and events.

    Args:
        part: Both of some users.
        settings: The windows.
        newest: The time of the newest event of all; lists whose window ends later are left out.
        counts: Where lists that are left out are counted.
    """
    lists = _once(part.lists, counts)
    window = windows(settings)
    over = pc.less_equal(pc.add(lists["time"], max(window)), newest)
    counts[YOUNG] += len(lists) - int(pc.sum(over).as_py() or 0)
    lists = lists.filter(over).sort_by([("time", "ascending"), ("request", "ascending"), ("row", "ascending")])
    items = lists["items"].combine_chunks()
    lengths = pc.list_value_length(items).to_numpy(zero_copy_only=False).astype(np.int64)
    list_of = np.repeat(np.arange(len(lists)), lengths)
    place = np.arange(len(list_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shown, took, item = _pairs(lists, list_of, items.flatten(), part.events)
    shown_at = lists["time"].to_numpy()[list_of] if len(lists) else np.empty(0, np.int64)
    took_at, kind = part.events["time"].to_numpy(), part.events["kind"].to_numpy()
    clock = round(settings.clock_seconds * 1e6)
    impression = np.full(len(took), -1)
    for one, length in ((CLICK, window[0]), (CONVERSION, window[1])):
        of_kind = kind == one
        impression[of_kind] = ascribe(shown, shown_at, place, took[of_kind], took_at[of_kind], length, clock)
    ascribed = impression >= 0
    impression, kind = impression[ascribed], kind[ascribed]
    flags = [np.bincount(impression[kind == one], minlength=len(list_of)) > 0 for one in (CLICK, CONVERSION)]
    events = part.events.filter(pa.array(ascribed))
    return Outcomes(lists, list_of, place, item, flags[0], flags[1], events, impression)


def _once(lists: pa.Table, counts: Counter[str]) -> pa.Table:
    """Leaves out copies, and the server's lists of requests that the client has logged too."""
    ids = lists["id"].combine_chunks().dictionary_encode()
    code = ids.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    kept = code < 0
    kept[np.unique(code, return_index=True)[1]] = True
    if not kept.all():
        counts[COPIES] += int((~kept).sum())
        lists = lists.filter(pa.array(kept))
    of_client = pc.equal(lists["by"], "client")
    twice = pc.and_(
        pc.invert(of_client), pc.is_in(lists["request"], value_set=pc.unique(lists["request"].filter(of_client)))
    )
    kept = lists.filter(pc.invert(twice))
    counts[TWICE] += len(lists) - len(kept)
    return kept


def _pairs(
    lists: pa.Table, list_of: np.ndarray, items: pa.Array, events: pa.Table
) -> tuple[np.ndarray, np.ndarray, pa.DictionaryArray]:
    """Returns the pairs of user and item of impressions and of events as numbers from 0, and the impressions' items."""

    def coded(first: pa.Array, second: pa.Array) -> tuple[np.ndarray, pa.DictionaryArray]:
        both = pa.concat_arrays([first, second]).dictionary_encode()
        return both.indices.to_numpy(zero_copy_only=False).astype(np.int64), both.slice(0, len(first))

    users = lists["user"].combine_chunks().take(pa.array(list_of))
    user, _ = coded(users, events["user"].combine_chunks())
    item, of_impressions = coded(items, events["item"].combine_chunks())
    _, pair = np.unique(user * (item.max(initial=0) + 1) + item, return_inverse=True)
    return pair[: len(items)], pair[len(items) :], of_impressions
