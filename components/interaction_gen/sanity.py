"""Sanity of a log as a whole: what no single row shows, such as times in a wrong unit or a user who is none."""

import datetime
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import log_profile
from components.hashing import hashes
from components.interaction_gen.settings import InteractionSettings
from components.interaction_gen.spread import ROWS_SPREAD, TOO_LONG
from components.tables.contents import WORDS, Content, added, content, in_yaml
from components.tables.contents import warnings as warnings_of_columns
from components.tables.row_report import Report, by_reason
from components.tables.times import NO_OFFSETS, OFFSETS, ROUGH_TIMES

_IDS = ("user_id", "item_id")
_OWN = frozenset((*_IDS, "timestamp", "weight"))
_MOST = 100
"""Ids of a part that are kept, those with the most events: one with a large share of all is among them."""
_WORDS = WORDS | {
    *("none", "nil", "undefined", "missing", "unknown", "anonymous", "anon", "guest", "(none)", "(not set)", "-1"),
    "00000000-0000-0000-0000-000000000000",
}
"""Words that stand for a missing value more often than for somebody."""
_LIST = r"^\s*\[.*\]\s*$"
_ODD = {
    "digits": (
        r"^\d([.,]\d+)?[eE]\+\d+$",
        "as spreadsheets write long numbers, whose last digits are lost: export it anew, as text",
    ),
    "formula": (r"""^(="[^"]*"|'\d+)$""", "as spreadsheets keep text: take off what stands around it"),
    "accents": (
        r"[A-Za-z][\x{0300}-\x{036f}]",
        "with accents as characters of their own (Unicode's form NFD), so that the same in one piece is another: write "
        "all in form NFC",
    ),
    "invisible": (r"[\x{00ad}\x{200b}-\x{200f}\x{2060}\x{feff}]", "with a character that can't be seen: take it out"),
}
"""Looks of ids that programs leave, and what is said of them."""
_FLOAT = re.compile(r"-?\d+(\.0+)?")
_LABELLED = re.compile(r"(.+[-:_])([01])")
_DAY = 86_400_000_000
"""Microseconds."""
_EARLY = datetime.datetime(1990, 1, 1)
_CLOCKS = {
    "100 nanoseconds since the year 1, as .NET's ticks do: write milliseconds, ticks / 10000 - 62135596800000": (
        100,
        -62_135_596_800_000_000,
    ),
    "100 nanoseconds since 1601, as Windows does: write milliseconds, count / 10000 - 11644473600000": (
        100,
        -11_644_473_600_000_000,
    ),
    "seconds since 2001, as Apple's systems do: add 978307200": (1, 978_307_200_000_000),
}
"""Counts that begin elsewhere than in 1970: by what they are read as in microseconds, the factor and what is added."""
_LATEST_MISREAD = datetime.datetime(1997, 1, 1)
"""Whoever counts from 2001 in seconds is in 2028 then; logs that are so old are few."""
_EARLIEST_REAL = datetime.datetime(2005, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1)
_LARGE_SHARE = {"user_id": 0.05, "item_id": 0.25}
_LARGE_MULTIPLE = 10
"""So many times the average is large, where the share is."""
_LARGE_ZERO = 3, 0.01
"""The same and the share for the id 0, with which some programs fill gaps and others begin to count."""
_MEND = {"user_id": "if for a bot, max_user_events", "item_id": "if for one that is everywhere, max_item_events"}
_MAX_TYPES = 1000
_HALF = 0.5
_FEW = 20
"""Events among which any share is large."""
_WORD_SHARE = 0.001
_LIST_SHARE = 0.01
_REPEATED_SHARE = 0.2
_SEVERAL_SHARE = 0.5
"""So many of the lists have more than one item; short baskets are the most frequent."""
_REPEATED_PARTS = 4
"""So often the parts of lists come on average, where the lists themselves hardly come again."""
_TEXTS = 4096
_LONGEST_TEXT = 1000


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
    blanks: Counter = field(default_factory=Counter)
    """Events whose id has blanks around it, by column."""
    odd: Counter = field(default_factory=Counter)
    """Events whose id looks as programs leave it, by column and one of _ODD."""
    odd_ids: dict[tuple[str, str], str] = field(default_factory=dict)
    """One of these ids."""
    types: Counter = field(default_factory=Counter)
    """Events by type; empty where that is not known of all events."""
    columns: dict[str, Content] = field(default_factory=dict)
    days: Counter = field(default_factory=Counter)
    """Events by day since the epoch."""
    sample: Counter = field(default_factory=Counter)
    """Events by hash of the item, see `components.log_profile.least`."""
    texts: dict[int, str] = field(default_factory=dict)
    """Some items by their hash, the least ones: seldom ones too, as lists are."""


def look(events: pa.Table) -> Sanity:
    """Returns what is known of events: user_id, item_id, timestamp, and event where that is."""
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
        ids = table["id"]
        marked = pc.or_(pc.match_substring(ids, "+"), pc.or_(pc.starts_with(ids, "="), pc.starts_with(ids, "'")))
        suspects = table.filter(pc.or_(marked, pc.invert(pc.string_is_ascii(ids))))  # patterns take time
        for look_of, (pattern, _) in _ODD.items():
            odd = suspects.filter(pc.match_substring_regex(suspects["id"], pattern))
            if len(odd):
                found.odd[name, look_of] = pc.sum(odd["events"]).as_py()
                found.odd_ids[name, look_of] = pc.min(odd["id"]).as_py()
        blanks = table.filter(pc.not_equal(table["id"], pc.utf8_trim_whitespace(table["id"])))
        found.blanks[name] = pc.sum(blanks["events"]).as_py() or 0
        if name == "item_id":
            items = table["id"].to_pylist()
            of_items = hashes(item.encode() for item in items).tolist()
            found.sample = log_profile.least(dict(zip(of_items, table["events"].to_pylist())))
            found.texts = _least_texts(dict(zip(of_items, items)))
    if "event" in events.column_names:
        counts = pc.value_counts(events["event"].combine_chunks())
        if len(counts) <= _MAX_TYPES:
            found.types.update(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist())))
    days, counts = np.unique(events["timestamp"].to_numpy() // _DAY, return_counts=True)
    found.days.update(dict(zip(days.tolist(), counts.tolist())))
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
        for counted in ("distinct", "words", "lists", "blanks", "odd", "types", "days", "sample"):
            getattr(total, counted).update(getattr(part, counted))
        for key, odd in part.odd_ids.items():
            total.odd_ids[key] = min(odd, total.odd_ids.get(key, odd))
        total.sample = log_profile.least(total.sample)
        total.texts = _least_texts({**total.texts, **part.texts})
        for name in _IDS:
            total.greatest[name].update(part.greatest[name])
        for name, found in part.columns.items():
            columns[name] = added([columns[name], found]) if name in columns else found
    total.columns = columns
    # Users stay few; so many items as a part may have cross parts.
    total.greatest["user_id"] = Counter(dict(total.greatest["user_id"].most_common(_MOST)))
    return total


def _least_texts(by_hash: dict[int, str]) -> dict[int, str]:
    return {key: by_hash[key][:_LONGEST_TEXT] for key in heapq.nsmallest(_TEXTS, by_hash)}


def profile(found: Sanity, timed: bool) -> log_profile.LogProfile:
    """Returns the figures of all of a log's events, repeated ones among them.

    Args:
        found: What is known of them.
        timed: Whether they have times; else the order of the rows stands for it.
    """
    user, item = (
        max(most.items(), key=lambda pair: (pair[1], pair[0]), default=("", 0))
        for most in (found.greatest[name] for name in _IDS)
    )
    return log_profile.LogProfile(
        events=found.events,
        users=found.distinct["user_id"],
        items=log_profile.distinct(found.sample),
        user=user,
        item=item,
        first=found.first if timed else None,
        last=found.last if timed else None,
        days=dict(sorted(found.days.items())) if timed else {},
        sample=dict(found.sample),
    )


def warnings(
    found: Sanity, report: Report, settings: InteractionSettings, excluded_types: Sequence[str] = ()
) -> list[str]:
    """Returns what is striking about a log, each with the setting that may mend it.

    Args:
        found: What is known of all its events, repeated ones among them.
        report: The counts of its rows.
        settings: How it was read.
        excluded_types: Types of events whose items answers leave out, if it goes by types.
    """
    lists = list(_of_lists(found, report, settings))
    striking = [
        *_of_ids(found, settings),
        *(lists or _of_single_events(found, settings)),
        *_of_types(found, settings, excluded_types),
        *_of_repeats(report, settings),
    ]
    if settings.columns.user_id == settings.columns.item_id:
        striking.insert(0, f"columns.user_id and columns.item_id are both {settings.columns.user_id!r}")
    if lost := report.facts[ROUGH_TIMES]:
        striking.append(
            f"{settings.columns.timestamp} has lost digits in {lost:,} of {report.rows:,} rows, as 32-bit floats and "
            "1.6e+09 do: write whole numbers"
        )
    if settings.timezone is None and report.facts[OFFSETS] and (local := report.facts[NO_OFFSETS]):
        striking.append(
            f"{settings.columns.timestamp} has an offset from UTC in some rows and none in {local:,} of "
            f"{report.rows:,}, so that these are taken for UTC: set timezone if they are of another"
        )
    if settings.columns.timestamp is not None and found.first is not None and found.last is not None:
        striking = [*_of_times(found.events, found.first, found.last), *striking]
    return [*striking, *warnings_of_columns(found.columns, "events")]


def as_time(microseconds: int) -> str:
    """Returns a time as people write it, in UTC.

    >>> as_time(1_600_029_219_000_000)
    '2020-09-13 20:33:39'
    """
    return f"{_EPOCH + datetime.timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S}"


def _moment(microseconds: int) -> datetime.datetime:
    try:
        return _EPOCH + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.datetime.max if microseconds > 0 else datetime.datetime.min


def _of_times(events: int, first: int, last: int) -> Iterator[str]:
    mend = "are timestamp_unit, timestamp_format and timezone right?"
    if events > 1 and first // 1_000_000 == last // 1_000_000:
        yield f"all events are of one second, {as_time(first)}: {mend}"
    elif _moment(first) < _EARLY:
        some = "" if _moment(last) < _EARLY else "; if the first ones stand for missing times, set earliest_year: 1990"
        yield f"times begin before 1990 ({as_time(first)} to {as_time(last)}): {mend}{some}"
    # A day, because local times may be taken for UTC.
    tomorrow = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(days=1)
    if _moment(last) < _LATEST_MISREAD:
        for clock, (factor, more) in _CLOCKS.items():
            if _EARLIEST_REAL <= _moment(factor * last + more) <= tomorrow:
                yield f"times end in {_moment(last):%Y}: if they are counts of {clock}"
                break
    if _moment(last) > tomorrow:
        yield f"times end in the future ({as_time(first)} to {as_time(last)}): {mend}"


def _of_ids(found: Sanity, settings: InteractionSettings) -> Iterator[str]:
    for name in _IDS:
        kind, column = name.removesuffix("_id"), getattr(settings.columns, name)
        great = {
            word: n for (where, word), n in found.words.items() if where == name and n >= _WORD_SHARE * found.events
        }
        most, count = max(found.greatest[name].items(), key=lambda pair: (pair[1], pair[0]), default=("", 0))
        for one, events, multiple, share in (
            (most, count, _LARGE_MULTIPLE, _LARGE_SHARE[name]),
            ("0", found.greatest[name]["0"], *_LARGE_ZERO),
        ):
            large = events * found.distinct[name] >= multiple * found.events
            if found.events >= _FEW and events > (share if large else _HALF) * found.events:
                great[one] = events
        for word, events in sorted(great.items()):
            yield (
                f"one {kind}, {word!r}, has {events:,} of {found.events:,} events: if that stands for a missing "
                f"{column}, set missing: [{in_yaml(word)}]"
                + (f"; {_MEND[name]}" if (name, word) not in found.words else "")
            )
        if found.blanks[name]:
            such = next((f", such as {text!r}" for text in found.greatest[name] if text != text.strip()), "")
            yield (
                f"{column} has blanks around it in {found.blanks[name]:,} of {found.events:,} events{such}: set "
                "trim: true if they mean nothing"
            )
        for look_of, (_, what) in _ODD.items():
            if events := found.odd[name, look_of]:
                such = f"such as {found.odd_ids[name, look_of]!r}"
                yield f"{column} has ids {such} in {events:,} of {found.events:,} events, {what}"
        if found.lists[name] >= max(1.0, _LIST_SHARE * found.events):
            mend = ": set spread: true" if name == "item_id" else ""
            yield (
                f"{column} is a list in {found.lists[name]:,} of {found.events:,} events, and each list is one "
                f"{kind}{mend}"
            )
        whole = list(map(_FLOAT.fullmatch, found.greatest[name]))
        if all(whole) and (floats := [each[0] for each in whole if each and each[1]]):
            what = "as whole numbers become beside a missing value: write them without .0"
            yield f"{column} has ids such as {(most if most in floats else floats[0])!r}, {what}"


def _of_lists(found: Sanity, report: Report, settings: InteractionSettings) -> Iterator[str]:
    column, most = settings.columns.item_id, list(found.greatest["item_id"])
    labelled = [match for item in most if (match := _LABELLED.fullmatch(item))]
    if most and len(labelled) == len(most) and len({match[1] for match in labelled}) < len(most):
        yield (
            f"{column} ends in {labelled[0][1][-1]}0 or {labelled[0][1][-1]}1 in all events, such as {most[0]!r}, as "
            f"labels of what was shown do: set clicked: '{labelled[0][1][-1]}1'"
        )
    if settings.spread:
        too_long = any(TOO_LONG in reason for reason in by_reason(report.rejected))
        if report.rows and report.facts[ROWS_SPREAD] >= report.rows and not too_long:
            yield f"no row has more than one {column}: is separator {settings.separator!r} right?"
        return
    if found.lists["item_id"] or len(most) < _FEW or 2 * found.distinct["item_id"] < found.events:
        return  # lists repeat less often than items do
    for separator in ("|", ";", ",", "\t", " "):  # blanks may stand behind another one
        parts = [item.split(separator) for item in found.texts.values()]
        lists = [some for some in parts if len(some) > 1]
        together = [part.strip() for some in parts for part in some]
        if len(lists) >= _SEVERAL_SHARE * len(parts) and _REPEATED_PARTS * len(set(together)) <= len(together):
            yield (
                f"{column} looks like a list of items in each row, such as {separator.join(lists[0])!r}, and each list "
                f"is one item: set spread: true and separator: {separator!r}"
            )
            return


def _of_single_events(found: Sanity, settings: InteractionSettings) -> Iterator[str]:
    if found.events < _FEW or found.lists.total():
        return
    single = {
        "user_id": found.distinct["user_id"] == found.events,
        "item_id": set(found.sample.values()) == {1},  # whose counts are those of the whole log
    }
    for name in (name for name in _IDS if single[name]):
        kind = name.removesuffix("_id")
        yield (
            f"no {kind} has more than one event, so that nothing is learned of one from another: is "
            f"{getattr(settings.columns, name)} the column of {kind}s?"
        )


def _of_types(found: Sanity, settings: InteractionSettings, excluded_types: Sequence[str]) -> Iterator[str]:
    named = {
        "event_weights": settings.event_weights,
        "never_again": settings.never_again,
        "serving.exclude": excluded_types,
    }
    for setting, types in named.items():
        for name in types:
            if found.types and name not in found.types:
                there = ", ".join(repr(known) for known, _ in found.types.most_common(5))
                yield f"no event is of type {name!r}, which {setting} names: there are {there}"


def _of_repeats(report: Report, settings: InteractionSettings) -> Iterator[str]:
    repeated = report.dropped["duplicates"]
    if settings.deduplicate is True and repeated >= _REPEATED_SHARE * max(report.rows, 1):
        yield (
            f"{repeated:,} of {report.rows:,} rows repeat the user, item and time of an earlier one and are dropped "
            "(see deduplicate)"
        )
