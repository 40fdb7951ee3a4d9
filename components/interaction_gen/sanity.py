"""Sanity of a log as a whole: what no single row shows, such as times in a wrong unit or a user who is none."""

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Optional

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_gen.settings import InteractionSettings
from components.interaction_gen.spread import ROWS_SPREAD
from components.tables.contents import WORDS, Content, added, content, in_yaml
from components.tables.contents import warnings as warnings_of_columns
from components.tables.row_report import Report

_IDS = ("user_id", "item_id")
_OWN = frozenset((*_IDS, "timestamp", "weight"))
_MOST = 100
"""Ids of a part that are kept, those with the most events: one with a large share of all is among them."""
_WORDS = WORDS | {"none", "nil", "undefined", "missing"}
"""Words that stand for a missing value more often than for somebody."""
_LIST = r"^\s*\[.*\]\s*$"
_FLOAT = re.compile(r"-?\d+\.0+")
_EARLY = datetime.datetime(1990, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1)
_LARGE_SHARE = {"user_id": 0.05, "item_id": 0.25}
_LARGE_MULTIPLE = 10
"""So many times the average is large, where the share is."""
_HALF = 0.5
_FEW = 20
"""Events among which any share is large."""
_WORD_SHARE = 0.001
_LIST_SHARE = 0.01
_REPEATED_SHARE = 0.2
_MOST_ARE = 0.9
_REPEATED_PARTS = 4
"""So often the parts of lists come on average, where the lists themselves hardly come again."""


@dataclass
class Sanity:
    """What is known of some of the events; can be added up. Users are in one part only, items in several."""

    events: int = 0
    first: Optional[int] = None
    """The time of the earliest in microseconds, and of the latest."""
    last: Optional[int] = None
    distinct: Counter = field(default_factory=Counter)
    """How many ids there are, by column; those of items count in each part."""
    greatest: dict[str, Counter] = field(default_factory=lambda: {name: Counter() for name in _IDS})
    """The ids with the most events and how many, by column."""
    words: Counter = field(default_factory=Counter)
    """Events by column and id, where that is a word for a missing value."""
    lists: Counter = field(default_factory=Counter)
    """Events whose id is a list, by column."""
    columns: dict[str, Content] = field(default_factory=dict)


def look(events: pa.Table) -> Sanity:
    """Returns what is known of events: user_id, item_id, timestamp."""
    found = Sanity(events=len(events))
    if not len(events):
        return found
    bounds = pc.min_max(events["timestamp"]).as_py()
    found.first, found.last = bounds["min"], bounds["max"]
    for name in _IDS:
        counts = pc.value_counts(events[name].combine_chunks())
        table = pa.table({"id": counts.field(0), "events": counts.field(1)})
        found.distinct[name] = len(table)
        most = table.sort_by([("events", "descending"), ("id", "ascending")]).slice(0, _MOST)
        found.greatest[name].update(dict(zip(*most.to_pydict().values())))
        words = table.filter(pc.is_in(pc.utf8_lower(table["id"]), value_set=pa.array(sorted(_WORDS))))
        found.words.update({(name, word): count for word, count in zip(*words.to_pydict().values())})
        lists = table.filter(pc.match_substring_regex(table["id"], _LIST))
        found.lists[name] = pc.sum(lists["events"]).as_py() or 0
    return found


def look_at_columns(events: pa.Table) -> dict[str, Content]:
    """Returns what the columns hold that the settings name beside user, item and time."""
    names = [name for name in events.column_names if name not in _OWN and not name.startswith("#")]
    return {name: content(events[name].combine_chunks()) for name in names}


def merged(parts: Iterable[Sanity]) -> Sanity:
    """Adds up what is known of parts of the log; the order doesn't matter."""
    total = Sanity()
    columns: dict[str, Content] = {}
    for part in parts:
        total.events += part.events
        total.first = min((time for time in (total.first, part.first) if time is not None), default=None)
        total.last = max((time for time in (total.last, part.last) if time is not None), default=None)
        for counter, more in ((total.distinct, part.distinct), (total.words, part.words), (total.lists, part.lists)):
            counter.update(more)
        for name in _IDS:
            total.greatest[name].update(part.greatest[name])
        for name, found in part.columns.items():
            columns[name] = added([columns[name], found]) if name in columns else found
    total.columns = columns
    # Users stay few; so many items as a part may have cross parts.
    total.greatest["user_id"] = Counter(dict(total.greatest["user_id"].most_common(_MOST)))
    return total


def warnings(found: Sanity, report: Report, settings: InteractionSettings) -> list[str]:
    """Returns what is striking about a log, each with the setting that may mend it.

    Args:
        found: What is known of all its events, repeated ones among them.
        report: The counts of its rows.
        settings: How it was read.
    """
    striking = [*_of_ids(found, settings), *_of_lists(found, report, settings), *_of_repeats(report, settings)]
    if settings.columns.timestamp is not None and found.first is not None and found.last is not None:
        striking = [*_of_times(found.events, found.first, found.last), *striking]
    return [*striking, *warnings_of_columns(found.columns, "events")]


def as_time(microseconds: int) -> str:
    """Returns a time as people write it, in UTC.

    >>> as_time(1_600_029_219_000_000)
    '2020-09-13 20:33:39'
    """
    return f"{_EPOCH + datetime.timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S}"


def _of_times(events: int, first: int, last: int) -> Iterator[str]:
    mend = "are timestamp_unit, timestamp_format and timezone right?"
    if events > 1 and first // 1_000_000 == last // 1_000_000:
        yield f"all events are of one second, {as_time(first)}: {mend}"
    elif _EPOCH + datetime.timedelta(microseconds=first) < _EARLY:
        yield f"times begin before 1990 ({as_time(first)} to {as_time(last)}): {mend}"
    # A day, because local times may be taken for UTC.
    tomorrow = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(days=1)
    if _EPOCH + datetime.timedelta(microseconds=last) > tomorrow:
        yield f"times end in the future ({as_time(first)} to {as_time(last)}): {mend}"


def _of_ids(found: Sanity, settings: InteractionSettings) -> Iterator[str]:
    for name in _IDS:
        kind, column = name.removesuffix("_id"), getattr(settings.columns, name)
        great = {
            word: n for (where, word), n in found.words.items() if where == name and n >= _WORD_SHARE * found.events
        }
        most, count = max(found.greatest[name].items(), key=lambda pair: (pair[1], pair[0]), default=("", 0))
        large = count * found.distinct[name] >= _LARGE_MULTIPLE * found.events
        if found.events >= _FEW and count > (_LARGE_SHARE[name] if large else _HALF) * found.events:
            great[most] = count
        for word, events in sorted(great.items()):
            yield (
                f"one {kind}, {word!r}, has {events:,} of {found.events:,} events: if that stands for a missing "
                f"{column}, set missing: [{in_yaml(word)}]"
            )
        if found.lists[name] >= max(1.0, _LIST_SHARE * found.events):
            mend = ": set spread: true" if name == "item_id" else ""
            yield (
                f"{column} is a list in {found.lists[name]:,} of {found.events:,} events, and each list is one "
                f"{kind}{mend}"
            )
        if found.greatest[name] and all(map(_FLOAT.fullmatch, found.greatest[name])):
            what = "as whole numbers become beside a missing value: write them without .0"
            yield f"{column} has ids such as {most!r}, {what}"


def _of_lists(found: Sanity, report: Report, settings: InteractionSettings) -> Iterator[str]:
    column, most = settings.columns.item_id, list(found.greatest["item_id"])
    if settings.spread:
        if report.rows and report.facts[ROWS_SPREAD] >= report.rows:
            yield f"no row has more than one {column}: is separator {settings.separator!r} right?"
        return
    if found.lists["item_id"] or len(most) < _FEW or 2 * found.distinct["item_id"] < found.events:
        return  # lists repeat less often than items do
    for separator in (" ", "|", ";", ",", "\t"):
        parts = [item.split(separator) for item in most]
        together = [part for some in parts for part in some]
        several = sum(len(some) > 1 for some in parts) >= _MOST_ARE * len(parts)
        if several and _REPEATED_PARTS * len(set(together)) <= len(together):
            yield (
                f"{column} looks like a list of items in each row, such as {most[0]!r}, and each list is one item: set "
                f"spread: true and separator: {separator!r}"
            )


def _of_repeats(report: Report, settings: InteractionSettings) -> Iterator[str]:
    repeated = report.dropped["duplicates"]
    if settings.deduplicate is True and repeated >= _REPEATED_SHARE * max(report.rows, 1):
        yield (
            f"{repeated:,} of {report.rows:,} rows repeat the user, item and time of an earlier one and are dropped "
            "(see deduplicate)"
        )
