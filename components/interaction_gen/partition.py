"""The work on one partition, all events of some users: ordering, joining the users' features, making the examples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.examples.interactions import (
    EXCLUDED,
    FOR_GOOD,
    KEPT_OF,
    LATER_NEGATIVE_SPLIT,
    NEGATIVE_SPLIT,
    PLACE,
    REJECTED,
)
from components.hashing import mixed
from components.interaction_gen import split as splitting
from components.interaction_gen.events import EVALUATION, FINAL, KNOWN, NEGATIVE
from components.interaction_gen.history import Selection, past, select, until_final
from components.interaction_gen.settings import History, InteractionSettings
from components.tables.columns import mask
from components.tables.row_report import Report
from components.tables.rows import ORDER, row_of

_SLICE_ITEMS = 16_000_000
"""Items in the histories of the examples that are made at a time: bounds the memory."""
_NAMED_IDS = 5
_MOST_LIVES = 8
"""Half-lives after the cut from which on events weigh no more: one with a wrong date must not outweigh all others."""
_MICROSECONDS_A_DAY = 86_400e6
AGED = "training events older than half_life"
"""The fact that counts events whose weight is less than half of what it was."""
HAD = "evaluation events of items that their users had"
"""The fact that counts queries whose item is in their history, or among what was seen."""


def ordered(events: Sequence[pa.Table], settings: InteractionSettings) -> tuple[pa.Table, Report]:
    """Returns one partition's events sorted by user, time and place in the log, duplicates dropped.

    Of events of one moment the negative ones count as later. They and the others are no duplicates of each other.
    """
    report = Report()
    table = pa.concat_tables(events).combine_chunks()
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    # Rank the ids, so that the result doesn't depend on the order in which the blocks came.
    rank = np.empty(len(encoded.dictionary), dtype=np.int64)
    rank[pc.array_sort_indices(encoded.dictionary).to_numpy(zero_copy_only=False)] = np.arange(len(rank))
    user = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    time, order = _numpy(table, "timestamp"), _numpy(table, ORDER)
    negative = [_flags(table, NEGATIVE)] if settings.has_negatives else []  # a key costs time
    by_place = [] if (order[1:] > order[:-1]).all() else [order]  # sorting is stable, and blocks mostly come in order
    positions = np.lexsort((*by_place, *negative, time, user))
    if settings.deduplicate:
        item = table["item_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        by_item = positions[np.lexsort([key[positions] for key in (*negative, item, user)])]
        same = np.zeros(len(user), dtype=bool)
        here, before = by_item[1:], by_item[:-1]
        same[here] = (user[here] == user[before]) & (item[here] == item[before])
        for flags in negative:
            same[here] &= flags[here] == flags[before]
        if settings.deduplicate != "user_item":
            same[here] &= time[here] == time[before]
        positions = positions[~same[positions]]
        if same.any():
            report.dropped["duplicates"] += int(same.sum())
    return table.take(pa.array(positions)), report


def join_users(events: pa.Table, users: Sequence[pa.Table], path: str) -> tuple[pa.Table, Report]:
    """Returns the events with the features of their users, null for users who are not in the table.

    Args:
        events: One partition's events.
        users: Tables of the users in the same partition.
        path: The users' files, for messages.

    Returns:
        The report has a problem if a user is there twice, and counts matched and unmatched events.
    """
    report = Report()
    table = pa.concat_tables(users).combine_chunks().sort_by(ORDER)
    ids = table["user_id"].combine_chunks()
    counts = pc.value_counts(ids)
    doubled = counts.field(0).filter(pc.greater(counts.field(1), 1)).slice(0, _NAMED_IDS)
    if len(doubled):
        rows = [row_of(order) for order in table.filter(pc.is_in(ids, value_set=doubled))[ORDER].to_pylist()]
        report.problems.append(
            f"{path}: users are listed more than once: {', '.join(map(repr, doubled.to_pylist()))} "
            f"(rows {', '.join(map(str, sorted(rows)[:10]))})"
        )
    position = pc.index_in(events["user_id"].combine_chunks(), value_set=ids)
    report.facts["events of listed users"] += len(position) - position.null_count
    for name in table.column_names:
        if name not in ("user_id", ORDER):
            events = events.append_column(name, table[name].combine_chunks().take(position))
    return events, report


def with_known(events: Sequence[pa.Table], known: Sequence[pa.Table]) -> list[pa.Table]:
    """Returns new events with those of before, which have no features: for them there were examples."""
    if not events:
        return list(known)
    schema = events[0].schema.append(pa.field(KNOWN, pa.bool_()))
    new = [table.append_column(KNOWN, pa.array(np.zeros(len(table), dtype=bool))) for table in events]
    return [
        *new,
        *(
            pa.table(
                [
                    table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
                    for field in schema
                ],
                schema=schema,
            )
            for table in known
        ),
    ]


def new_events(events: pa.Table) -> pa.Table:
    """Returns those that are not of before."""
    return events.filter(pa.array(~_flags(events, KNOWN))) if KNOWN in events.column_names else events


def newer(events: pa.Table, last: int, days: float) -> tuple[pa.Table, Report]:
    """Returns a partition's events that are no older than so many days before `last`, in microseconds."""
    report = Report()
    kept = pa.array(_numpy(events, "timestamp") >= last - days * _MICROSECONDS_A_DAY)
    left = events.filter(kept).combine_chunks()
    gone = len(new_events(events)) - len(new_events(left))
    if gone:
        report.dropped[f"older than window_days {days:g}"] += gone
    return left, report


def busiest_users(counts: pa.Table, limit: int) -> pa.Table:
    """Returns the `limit` rows of user_id and events [users] with the most events; of equal counts the first by id."""
    return counts.sort_by([("events", "descending"), ("user_id", "ascending")]).slice(0, limit)


def only_users(events: pa.Table, users: pa.Array, limit: int) -> tuple[pa.Table, Report]:
    """Returns the events of `users`, of whom there are at most `limit`."""
    report = Report()
    kept = events.filter(pc.is_in(events["user_id"].combine_chunks(), value_set=users)).combine_chunks()
    if len(kept) < len(events):
        report.dropped[f"of users beyond top_users {limit:,}"] += len(events) - len(kept)
    return kept, report


def newest_of_users(
    events: pa.Table, settings: InteractionSettings, cut: Optional[splitting.Cut]
) -> tuple[pa.Table, Report]:
    """Returns an ordered partition's newest `max_user_events` events of each user, of training and evaluation apart
    where the split goes by time or files."""
    report, most = Report(), settings.max_user_events
    assert most is not None
    user = _user_numbers(events)
    group = (
        user if settings.split.method in splitting.WHOLE_LOG else 2 * user + _evaluation(events, user, settings, cut)
    )
    kept = splitting.newest(group, most)
    if not kept.all():
        report.dropped[f"of users beyond max_user_events {most:,}"] += int((~kept).sum())
    return events.filter(pa.array(kept)).combine_chunks(), report


def newest_of_items(events: pa.Table, most: int) -> pa.Table:
    """Returns of item_id, timestamp and #order [events] the newest `most` rows of each item."""
    events = events.sort_by([("timestamp", "ascending"), (ORDER, "ascending")])
    item = events["item_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return events.filter(pa.array(splitting.newest(item, most))).combine_chunks()


@dataclass(frozen=True)
class Marked:
    """A partition's events with what is known about them; arrays [n], sorted by user, time, place in the log."""

    table: pa.Table
    user: np.ndarray
    """Consecutive numbers of the users, int64."""
    evaluation: np.ndarray
    """Whether the event is for evaluation, bool."""
    rare: np.ndarray
    """Whether the event is dropped for its user's count, bool."""
    counted: np.ndarray
    """Whether the event counts for the minimum counts, bool."""
    negative: np.ndarray
    """Whether the event is negative, bool."""


def mark(table: pa.Table, settings: InteractionSettings, cut: Optional[splitting.Cut]) -> Marked:
    """Decides for each event of an ordered partition its split and whether its user has enough events."""
    user = _user_numbers(table)
    whole = settings.split.method in splitting.WHOLE_LOG
    evaluation = np.zeros(len(table), dtype=bool) if whole else _evaluation(table, user, settings, cut)
    negative = _flags(table, NEGATIVE)
    counted = ~evaluation & ~negative
    rare = ~evaluation & splitting.rare_users(user, counted, settings.min_user_events)
    return Marked(table, user, evaluation, rare, counted & ~rare, negative)


def _without(marked: Marked, rare: np.ndarray, settings: InteractionSettings, cut: Optional[splitting.Cut]) -> Marked:
    """Returns the partition without rare events, by which the whole log is split anew."""
    table = marked.table.filter(pa.array(~rare)).combine_chunks()
    user = _user_numbers(table)
    evaluation = _evaluation(table, user, settings, cut)
    return replace(marked, table=table, user=user, evaluation=evaluation, negative=_flags(table, NEGATIVE))


def event_counts(marked: Marked, column: str) -> pa.Table:
    """Returns user_id or item_id and events [distinct ids]: the events that count, after rare users are gone."""
    counts = pc.value_counts(marked.table[column].combine_chunks().filter(pa.array(marked.counted)))
    return pa.table({column: counts.field(0), "events": counts.field(1)})


def counted_events(marked: Marked, items: pa.Array) -> pa.Table:
    """Returns item_id, timestamp and #order of those events of `items` that count."""
    table = marked.table.select(["item_id", "timestamp", ORDER])
    wanted = marked.counted & mask(pc.is_in(table["item_id"].combine_chunks(), value_set=items))
    return table.filter(pa.array(wanted)).combine_chunks()


_Side = tuple[str, Optional[dict[str, pa.Array]], np.ndarray, np.ndarray]
"""A split to be trained on, further columns, its events, and those of the evaluation that are kept with it."""


def examples(
    marked: Marked,
    settings: InteractionSettings,
    cut: Optional[splitting.Cut],
    common_items: Optional[pa.Array],
    report: Report,
    newest_events: Optional[pa.Table] = None,
    last: Optional[int] = None,
    excluded_types: Sequence[str] = (),
    keep: Optional[int] = None,
) -> dict[str, Iterator[dict[str, pa.Array]]]:
    """Returns the examples of a partition by split, in slices of rows, as columns of docs/architecture.md.

    Training examples come in a fixed random order, so that a reader's shuffle buffer need not undo the grouping by
    user, save that a user's events of the same time stay together in the order of the log, by which readers who sort by
    time tell the newer one; evaluation examples in the order of time.

    Args:
        marked: The partition.
        settings: The rules.
        cut: The cut of the split by time.
        common_items: Items with enough events, or None where every item has.
        report: Where events are counted.
        newest_events: item_id, timestamp and #order of the events that `max_item_events` leaves to items that have
            more; None where no item has.
        last: The time of the newest event of the whole log in microseconds, for `half_life` without a cut.
        excluded_types: Types of events whose items answers leave out, if it goes by types.
        keep: Most items of the histories of events that are kept, see `KEPT_OF`; by default none are.
    """
    rare = _rare(marked, settings, common_items, report) | _beyond(marked, settings, newest_events, report)
    if settings.split.method in splitting.WHOLE_LOG:
        marked, rare = _without(marked, rare, settings, cut), np.zeros(int((~rare).sum()), dtype=bool)
    table, user, negative = marked.table, marked.user, marked.negative
    training, rejecting = ~marked.evaluation & ~rare & ~negative, ~marked.evaluation & ~rare & negative
    evaluation, later = marked.evaluation & ~negative, marked.evaluation & negative
    time, order = _numpy(table, "timestamp"), _numpy(table, ORDER)
    start, moment = past(user, time)
    end = moment if settings.history.ties == "exclude" else np.arange(len(user))
    trained = np.concatenate([[0], np.cumsum(training)])
    known = trained[end] > trained[start]
    if KNOWN in table.column_names:  # of them there are examples
        training, rejecting = (chosen & ~_flags(table, KNOWN) for chosen in (training, rejecting))
    _count(report, user, known, training, evaluation, later, rejecting if settings.has_negatives else None)
    columns = {name: table[name].combine_chunks() for name in table.column_names if not name.startswith("#")}
    columns[PLACE] = pa.array(np.maximum(end - moment, 0))
    if settings.half_life is not None:
        now = last if cut is None else cut.time
        columns["weight"] = _aged(columns["weight"], time, training | rejecting, now, settings, report)
    slices = _Slices(columns, _pasts(table, user, negative, start, end, settings, excluded_types), settings.history)
    shuffled = mixed(order[moment])  # by the place of the first event of this user at this time
    found = {"eval": slices.evaluation(_sorted(evaluation, time, order), known, report)}
    sides: list[_Side] = [("train", None, training, evaluation)]
    if settings.has_negatives:
        for_good = {FOR_GOOD: table[FINAL].combine_chunks().cast(pa.int64())}
        sides += [(NEGATIVE_SPLIT, for_good, rejecting, later), (LATER_NEGATIVE_SPLIT, for_good, later, later)]
    for split, more, own, later_ones in sides:
        found[split] = slices.training(_sorted(own, shuffled, order), more)
        if keep is not None and split in KEPT_OF:
            found[KEPT_OF[split]] = slices.training(np.flatnonzero(own | later_ones), more, keep)
    return found


def _count(
    report: Report,
    user: np.ndarray,
    known: np.ndarray,
    training: np.ndarray,
    evaluation: np.ndarray,
    later: np.ndarray,
    rejecting: Optional[np.ndarray],
) -> None:
    """Counts the events of the splits, those of rejections where there are any, and their users."""
    if later.any():
        report.dropped["negative events of the evaluation"] += int(later.sum())
    report.split_events["train"] += int(training.sum())
    report.split_events["eval"] += int(evaluation.sum())
    if rejecting is not None:
        report.split_events[NEGATIVE_SPLIT] += int(rejecting.sum())
    report.facts["training users"] += len(np.unique(user[training]))
    report.facts["evaluation events of known users"] += int(known[evaluation].sum())


def _sorted(chosen: np.ndarray, by: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The rows that are chosen, bool [n], by one column and then by another."""
    rows = np.flatnonzero(chosen)
    return rows[np.lexsort((order[rows], by[rows]))]


@dataclass(frozen=True)
class _Pasts:
    """What the users had before each event of a partition."""

    item: pa.DictionaryArray
    """The items of the events."""
    had: Selection
    lists: dict[str, Selection]
    """Further lists of an evaluation example, by their columns."""


def _pasts(
    table: pa.Table,
    user: np.ndarray,
    negative: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    settings: InteractionSettings,
    excluded_types: Sequence[str],
) -> _Pasts:
    """Returns what stands in the rows from `start` up to `end` of each event, int [n] both."""
    item = table["item_id"].combine_chunks().dictionary_encode()
    lists: dict[str, Selection] = {}
    if excluded_types:
        of_types = mask(pc.is_in(table["event"].combine_chunks(), value_set=pa.array(excluded_types, pa.string())))
        lists[EXCLUDED] = select(of_types & ~negative, start, end, user, item)
    if settings.has_negatives:
        code = item.indices.to_numpy(zero_copy_only=False)
        deciding = until_final(user, code, negative, _flags(table, FINAL))
        lists[REJECTED] = select(deciding, start, end, user, item, negative)
    return _Pasts(item, select(~negative, start, end, user, item), lists)


@dataclass(frozen=True)
class _Slices:
    """Makes the examples of a partition, some rows at a time."""

    columns: dict[str, pa.Array]
    """What the examples have of their events."""
    pasts: _Pasts
    history: History

    def training(
        self, rows: np.ndarray, more: Optional[Mapping[str, pa.Array]] = None, keep: Optional[int] = None
    ) -> Iterator[dict[str, pa.Array]]:
        """Yields the examples of `rows`, int [m], in slices; `more` are further columns of the partition, and histories
        have at most `keep` items, by default as many as the settings say."""
        length = self.history.max_length if keep is None else min(keep, self.history.max_length)
        step = min(16_384, _SLICE_ITEMS // max(self.history.max_length, self.history.max_seen, 1))
        columns = {**self.columns, **(more or {})}
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            arrays = {name: column.take(pa.array(some)) for name, column in columns.items()}
            yield arrays | {"history": self.pasts.had.history(some, length)}

    def evaluation(self, rows: np.ndarray, known: np.ndarray, report: Report) -> Iterator[dict[str, pa.Array]]:
        """Yields those of `rows` with what evaluation asks for; counts queries that no answer may hold.

        Args:
            rows: Which, int [m].
            known: Whether an event's user had training events before it, bool [n].
            report: Where they are counted.
        """
        first = 0
        for arrays in self.training(rows):
            some = rows[first : first + len(arrays["history"])]
            first += len(some)
            arrays["seen"] = self.pasts.had.items(some, self.history.max_seen)
            holding = [_holds(arrays[name], self.pasts.item, some) for name in ("history", "seen")]
            report.facts[HAD] += int(np.logical_or(*holding).sum())
            for name, selection in self.pasts.lists.items():
                arrays[name] = selection.items(some, self.history.max_seen)
            arrays["user_type"] = pa.array(["new", "known"]).take(pa.array(known[some].astype(np.int8)))
            yield arrays


def _holds(lists: pa.ListArray, item: pa.DictionaryArray, rows: np.ndarray) -> np.ndarray:
    """Returns which of lists [m] hold the item of the event that they are of, bool [m]; `rows` are those in `item`."""
    lengths = np.diff(lists.offsets.to_numpy(zero_copy_only=False))
    row = np.repeat(np.arange(len(rows)), lengths)
    own = item.indices.to_numpy(zero_copy_only=False)[rows]
    same = lists.values.indices.to_numpy(zero_copy_only=False) == own[row]
    return np.bincount(row[same], minlength=len(rows)) > 0


def _rare(
    marked: Marked, settings: InteractionSettings, common_items: Optional[pa.Array], report: Report
) -> np.ndarray:
    """Returns which events the minimum counts leave out, bool [n], and counts them."""
    rare = marked.rare
    if rare.any():
        least = settings.min_user_events
        rule = f"of users below min_user_events {least}" if least > 1 else "of users with negative events alone"
        report.dropped[rule] += int(rare.sum())
    if common_items is None:
        return rare
    common = mask(pc.is_in(marked.table["item_id"].combine_chunks(), value_set=common_items))
    uncommon = ~marked.evaluation & ~rare & ~common
    report.dropped[f"of items below min_item_events {settings.min_item_events}"] += int(uncommon.sum())
    return rare | uncommon


def _beyond(
    marked: Marked, settings: InteractionSettings, newest_events: Optional[pa.Table], report: Report
) -> np.ndarray:
    """Returns which events `max_item_events` leaves out, bool [n], and counts them."""
    if newest_events is None:
        return np.zeros(len(marked.table), dtype=bool)
    crowded = mask(pc.is_in(marked.table["item_id"].combine_chunks(), value_set=pc.unique(newest_events["item_id"])))
    kept = mask(pc.is_in(marked.table[ORDER].combine_chunks(), value_set=newest_events[ORDER].combine_chunks()))
    beyond = marked.counted & crowded & ~kept
    report.dropped[f"of items beyond max_item_events {settings.max_item_events:,}"] += int(beyond.sum())
    return beyond


def _aged(
    weight: pa.Array,
    time: np.ndarray,
    training: np.ndarray,
    now: Optional[int],
    settings: InteractionSettings,
    report: Report,
) -> pa.Array:
    """Returns the weights, float32 [n], halved for each half-life that an event is older than `now`, and doubled for
    each that it is newer, which only those of the evaluation are; and counts training events that weigh less than
    half."""
    assert now is not None
    assert settings.half_life is not None
    lives = (now - time) / (settings.half_life * _MICROSECONDS_A_DAY)
    report.facts[AGED] += int((training & (lives > 1)).sum())
    return pa.array((weight.to_numpy() * np.exp2(-np.maximum(lives, -_MOST_LIVES))).astype(np.float32))


def _evaluation(
    table: pa.Table, user: np.ndarray, settings: InteractionSettings, cut: Optional[splitting.Cut]
) -> np.ndarray:
    """Returns which events are for evaluation, bool [n]; of those of before none is."""
    evaluation = _by_split(table, user, settings, cut)
    return evaluation & ~_flags(table, KNOWN) if KNOWN in table.column_names else evaluation


def _by_split(
    table: pa.Table, user: np.ndarray, settings: InteractionSettings, cut: Optional[splitting.Cut]
) -> np.ndarray:
    split = settings.split
    if split.method == "files":
        return _numpy(table, EVALUATION)
    if split.method == "leave_last_n":
        return _last_n(user, _flags(table, NEGATIVE), split.n)
    if split.method == "time":
        return splitting.after_cut(cut, _numpy(table, "timestamp"), _numpy(table, ORDER))
    users, items = (table[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
    return splitting.by_hash(users, items, _numpy(table, ORDER), split.eval_fraction)


def _last_n(user: np.ndarray, negative: np.ndarray, n: int) -> np.ndarray:
    """Returns `splitting.last_n` of events of which the negative ones don't count; those later than the first of the
    last n are for evaluation too."""
    if not negative.any():
        return splitting.last_n(user, n)
    evaluation = np.zeros(len(user), dtype=bool)
    rows = np.flatnonzero(~negative)
    evaluation[rows] = splitting.last_n(np.unique(user[rows], return_inverse=True)[1], n)
    first = np.full(int(user.max()) + 1, len(user))
    np.minimum.at(first, user[evaluation], np.flatnonzero(evaluation))
    return evaluation | (np.arange(len(user)) > first[user])


def _flags(table: pa.Table, name: str) -> np.ndarray:
    """Returns an internal column of bool [n], False where the table is without it."""
    return _numpy(table, name) if name in table.column_names else np.zeros(len(table), dtype=bool)


def _user_numbers(table: pa.Table) -> np.ndarray:
    """Returns 0, 0, 1, … for a table sorted by user_id."""
    ids = table["user_id"].combine_chunks()
    if not len(ids):
        return np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.cumsum(mask(pc.not_equal(ids[1:], ids[:-1])))]).astype(np.int64)


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()
