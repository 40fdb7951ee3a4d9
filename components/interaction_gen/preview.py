"""What InteractionGen would make of a log: told from a sample in seconds, by the same rules and without a pipeline."""

from dataclasses import dataclass, replace
from typing import Any, Optional

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_gen import outcome, partition, sanity
from components.interaction_gen import split as splitting
from components.interaction_gen.events import clean, clean_users, no_users
from components.interaction_gen.log import Log, check_unit, user_columns
from components.interaction_gen.settings import InteractionSettings
from components.tables import sampling
from components.tables.columns import mask
from components.tables.row_report import Report, merged, problem
from components.tables.rows import ORDER

_EVERYTHING: dict[str, Any] = {
    "top_users": None,
    "min_user_events": 1,
    "min_item_events": 1,
    "max_user_events": None,
    "max_item_events": None,
}
"""Settings of rules that count the whole log, without them."""


@dataclass(frozen=True)
class Preview:
    """A log as far as a sample of it tells. Counts are of the sample."""

    log: Log
    rows: sampling.Sample
    """Rows of the log, as they are and cleaned."""
    users: sampling.Sample
    """Rows of the users' table, if there is one."""
    events: pa.Table
    """The events that are left, by user and time, with what `clean` makes of them and the users' features; no columns
    where none could be used."""
    facts: dict[str, Any]
    """What report.json would say (see `outcome.as_facts`)."""

    def check(self) -> None:
        """Raises the InputError that a run would end with, as far as a sample can tell."""
        facts = self.facts
        if not self.rows.share.whole and not facts["problem"] and facts["rows"] and sum(facts["events"].values()):
            return  # what is missing may be elsewhere
        outcome.check(facts, self.log if self.users.share.whole else replace(self.log, user_files=()))


def preview(log: Log, size: int = sampling.SIZE) -> Preview:
    """Reads, cleans and splits a sample of a log.

    The counts that the least and most events of users and items and `top_users` go by are those of the whole log: on a
    part of one these rules are passed over.

    Args:
        log: What to read.
        size: About how many bytes of text of it.
    """
    settings = log.settings
    columns = list(dict.fromkeys(settings.log_columns().values()))
    rows = sampling.read_table(log.files, columns, settings, size, lambda piece, first: _clean(piece, first, log))
    users = sampling.Sample()
    if settings.users is not None:
        of_users = settings.users
        users = sampling.read_table(
            log.user_files,
            user_columns(settings),
            of_users,
            size,
            lambda piece, first: clean_users(piece.block, piece.file, of_users),
        )
    if not rows.share.whole:
        settings = settings.model_copy(update=_EVERYTHING)
    reports = [*rows.reports, *users.reports]
    cut, found, events = log.cut, sanity.Sanity(), pa.table({})
    if sum(map(len, rows.tables)):
        found = sanity.look(pa.concat_tables(rows.tables))
        events, report = partition.ordered(rows.tables, settings)
        reports.append(report)
        if settings.users is not None:
            events, report = partition.join_users(events, users.tables or [no_users(log)], log.user_files[0].path)
            reports.append(report)
        found.columns = sanity.look_at_columns(events)
        if not rows.share.whole:
            found.types.clear()  # others may be elsewhere
        if not problem(merged(reports), settings.max_rejected_fraction, ""):
            events, cut, report = _split(events, log, settings, found.last)
            reports.append(report)
    facts = outcome.as_facts(merged(reports), log, cut, found)
    return Preview(log, rows, users, events, facts)


def _clean(piece: sampling.Piece, first: bool, log: Log) -> tuple[pa.Table, Report]:
    if first:
        check_unit(piece.block, piece.file, log)
    return clean(piece.block, piece.file, log.settings, log.unit, piece.file.path in log.eval_files)


def _split(
    events: pa.Table, log: Log, settings: InteractionSettings, last: Optional[int]
) -> tuple[pa.Table, Optional[splitting.Cut], Report]:
    """Splits ordered events as InteractionGen does; returns those that are left, the cut, and the counts.

    Args:
        events: The events.
        log: What they are of.
        settings: The rules.
        last: The time of the newest event in microseconds.
    """
    report, cut = Report(), log.cut
    if settings.split.method == "time" and cut is None:
        cut = _cut(events, settings.split.eval_fraction)
    if settings.max_user_events is not None:
        events, capped = partition.newest_of_users(events, settings, cut)
        report.dropped.update(capped.dropped)
    if settings.top_users is not None:
        counts = partition.event_counts(partition.mark(events, settings, cut), "user_id")
        busiest = partition.busiest_users(counts, settings.top_users)["user_id"].combine_chunks()
        events, chosen = partition.only_users(events, busiest, settings.top_users)
        report.dropped.update(chosen.dropped)
    marked = partition.mark(events, settings, cut)
    left = ~marked.rare
    counts = partition.event_counts(marked, "item_id")
    common = newest = None
    if settings.min_item_events > 1:
        common = _with_events(counts, settings.min_item_events)
        left &= marked.evaluation | mask(pc.is_in(events["item_id"].combine_chunks(), value_set=common))
    if settings.max_item_events is not None:
        crowded = _with_events(counts, settings.max_item_events + 1)
        newest = partition.newest_of_items(partition.counted_events(marked, crowded), settings.max_item_events)
    found = partition.examples(marked, settings, cut, common, report, newest, last)
    for _ in found["eval"]:
        pass  # what is counted of queries is as they are made
    return events.filter(pa.array(left)), cut, report


def _with_events(counts: pa.Table, least: int) -> pa.Array:
    """Returns the items with so many events at least."""
    return counts.filter(pc.greater_equal(counts["events"], least))["item_id"].combine_chunks()


def _cut(table: pa.Table, fraction: float) -> Optional[splitting.Cut]:
    training = len(table) - splitting.evaluation_size(len(table), fraction)
    if training == len(table):
        return None
    return splitting.cut_at(table["timestamp"].to_numpy(), table[ORDER].to_numpy(), training)
