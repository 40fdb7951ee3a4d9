"""InteractionGen's Beam transforms: files to partitions by user, partitions to shards of examples, counts on the side.

What flows between the steps is whole Arrow tables as bytes, never single events. A fault of the data travels as a
problem in a Report, because an exception would reach the user as a page of Beam's own frames.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import log_profile
from components.errors import InputError
from components.examples.interactions import KEPT_OF
from components.examples.reading import COLUMNS, read_file
from components.examples.writing import SHARD_NAME, serialize, write_columns, write_shard
from components.interaction_gen import partition, sanity
from components.interaction_gen import split as splitting
from components.interaction_gen.events import (
    by_partition,
    clean,
    clean_users,
    features_of_before,
    no_users,
    of_before,
    without_suppressed,
)
from components.interaction_gen.log import Log, check_unit, user_columns, users_of
from components.interaction_gen.outcome import as_facts
from components.interaction_gen.spread import PLACE_BITS
from components.progress import progress
from components.tables import reading
from components.tables.arrow_bytes import add_counts, from_bytes, to_bytes
from components.tables.formats import TableSettings
from components.tables.row_report import Report, as_csv, merged, problem, unreadable
from components.tables.rows import ORDER

_EVENTS, _USERS, _KNOWN = "events", "users", "known"
_Payload = tuple[str, bytes]


def generate(
    pipeline: beam.Pipeline,
    log: Log,
    split_folders: dict[str, str],
    rejects: str,
    temporary: str,
    keep: Optional[int] = None,
) -> None:
    """Adds to `pipeline` all that turns `log` into shards of examples and a report.

    Args:
        pipeline: A Beam pipeline.
        log: What to read.
        split_folders: Where the shards of each split are written.
        rejects: A folder for report.json and rejected.csv.
        temporary: A folder on the same file system for unfinished shards.
        keep: Most items of the histories of events that are kept, if any are.
    """
    settings = log.settings
    rows, report = _read(pipeline, log)
    arranged = (
        rows
        | "ByUser" >> beam.GroupByKey()
        | "Arrange" >> beam.ParDo(_Arrange(log)).with_outputs("report", "sanity", main="partitions")
    )
    early_reports = [report, arranged.report]
    if settings.window_days is not None:
        newest_time = beam.pvalue.AsSingleton(
            arranged.partitions | "Latest" >> beam.Map(_latest) | "LatestOfAll" >> beam.CombineGlobally(_greatest)
        )
        arranged = arranged.partitions | "Window" >> beam.ParDo(_Window(log), newest_time).with_outputs(
            "report", "sanity", main="partitions"
        )
        early_reports.append(arranged.report)
    found = arranged.sanity | "Sanity" >> beam.CombineGlobally(sanity.merged)
    whole = beam.pvalue.AsSingleton(found)
    counted = early_reports | "EarlyReports" >> beam.Flatten()
    early = beam.pvalue.AsSingleton(counted | "EarlyReport" >> beam.CombineGlobally(merged))
    cut: Any = log.cut
    if settings.split.method == "time" and cut is None:
        cut = beam.pvalue.AsSingleton(_find_cut(arranged.partitions, log))
    partitions, reports = _of_fewer_users(arranged.partitions, log, cut)
    common, newest = _of_items(partitions, log, cut)
    last: Any = None
    if settings.half_life is not None:
        last = beam.pvalue.AsSingleton(found | "Last" >> beam.Map(lambda whole: whole.last))
    written = partitions | "Write" >> beam.ParDo(
        _Write(log, split_folders, temporary, keep), early, cut, common, newest, last
    )
    _ = (
        (counted, *reports, written)
        | "Reports" >> beam.Flatten()
        | "Report" >> beam.CombineGlobally(merged)
        | "WriteReport" >> beam.Map(_write_report, log, rejects, cut, whole)
    )


def _read(pipeline: beam.Pipeline, log: Log) -> tuple[Any, Any]:
    """Rows by the partition of their user, and reports of the files."""
    sources = [(_EVENTS, file) for file in log.files] + [(_USERS, file) for file in log.user_files]
    read = (
        pipeline
        | "Files" >> beam.Create(sources)
        | "Parts" >> beam.FlatMap(_parts)
        | "SpreadParts" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(_Read(log)).with_outputs("report", main="rows")
    )
    if not log.known:
        return read.rows, read.report
    known = (
        pipeline
        | "KnownFiles" >> beam.Create(log.known)
        | "SpreadKnown" >> beam.Reshuffle()
        | "ReadKnown" >> beam.FlatMap(_read_known, log)
    )
    return (read.rows, known) | "WithKnown" >> beam.Flatten(), read.report


def _of_fewer_users(partitions: Any, log: Log, cut: Any) -> tuple[Any, list[Any]]:
    """What the limits of users leave, and reports of what goes."""
    settings, reports = log.settings, []
    if settings.max_user_events is not None:
        capped = partitions | "CapUsers" >> beam.ParDo(_CapUsers(log), cut).with_outputs("report", main="partitions")
        partitions, reports = capped.partitions, [capped.report]
    if settings.top_users is not None:
        top = beam.pvalue.AsSingleton(
            partitions
            | "CountUsers" >> beam.Map(_count_users, settings, cut)
            | "TopUsers" >> beam.CombineGlobally(_busiest, settings.top_users)
        )
        chosen = partitions | "OnlyTopUsers" >> beam.ParDo(_OnlyUsers(settings.top_users), top).with_outputs(
            "report", main="partitions"
        )
        partitions, reports = chosen.partitions, [*reports, chosen.report]
    return partitions, reports


def _of_items(partitions: Any, log: Log, cut: Any) -> tuple[Any, Any]:
    """By the limits of items: those that are common enough, and of those with too many events the newest ones; None
    where there is no such limit."""
    settings, common, newest = log.settings, None, None
    if settings.min_item_events > 1:
        common = beam.pvalue.AsSingleton(
            partitions
            | "CountItems" >> beam.Map(_count_items, settings, cut)
            | "AddItems" >> beam.CombineGlobally(add_counts)
            | "CommonItems" >> beam.Map(_common_items, settings.min_item_events)
        )
    if settings.max_item_events is not None:
        crowded = beam.pvalue.AsSingleton(
            partitions
            | "CountItemsToCap" >> beam.Map(_count_items, settings, cut)
            | "AddItemsToCap" >> beam.CombineGlobally(add_counts)
            | "CrowdedItems" >> beam.Map(_common_items, settings.max_item_events + 1)
        )
        newest = beam.pvalue.AsSingleton(
            partitions
            | "EventsOfCrowded" >> beam.Map(_events_of, settings, cut, crowded)
            | "NewestOfCrowded" >> beam.CombineGlobally(_newest_of_items, settings.max_item_events)
        )
    return common, newest


class _Read(beam.DoFn):
    """Reads a part of a file and sends its clean rows to their partitions."""

    def __init__(self, log: Log):
        self._log = log

    def process(self, element: tuple[str, reading.TableFile, int]) -> Iterator[Any]:
        kind, file, part = element
        settings = self._log.settings
        reports: list[Report] = []
        how: TableSettings
        try:
            if kind == _EVENTS:
                columns, how = list(dict.fromkeys(settings.log_columns().values())), settings
            else:
                users = users_of(settings)
                columns, how = user_columns(settings), users
            for place, block in enumerate(reading.read_blocks(file, columns, how, part)):
                if kind == _EVENTS:
                    if place == part == 0:
                        check_unit(block, file, self._log)
                    evaluation = file.path in self._log.eval_files
                    rows, report = clean(block, file, settings, self._log.unit, evaluation)
                else:
                    rows, report = clean_users(block, file, users)
                if self._log.suppression is not None:
                    rows, report = without_suppressed(rows, report, self._log.suppression)
                reports.append(report)
                for number, share in by_partition(rows, self._log.partitions):
                    yield number, (kind, to_bytes(share))
                if len(block.rows):
                    progress(f"{os.path.basename(file.path)}: row {int(block.rows[-1]):,}")
        except InputError as error:
            reports.append(unreadable(file.path, error))
        yield beam.pvalue.TaggedOutput("report", merged(reports))


class _Arrange(beam.DoFn):
    """Orders a partition's events, drops duplicates and joins the users' features."""

    def __init__(self, log: Log):
        self._log = log

    def process(self, element: tuple[int, Iterable[_Payload]]) -> Iterator[Any]:
        number, payloads = element
        parts: dict[str, list[pa.Table]] = {_EVENTS: [], _USERS: [], _KNOWN: []}
        for kind, data in payloads:
            parts[kind].append(from_bytes(data))
        if self._log.known:
            parts[_EVENTS] = partition.with_known(parts[_EVENTS], parts[_KNOWN])
        if parts[_EVENTS]:
            found = sanity.look(pa.concat_tables(parts[_EVENTS]))
            events, report = partition.ordered(parts[_EVENTS], self._log.settings)
            reports = [report]
            if self._log.settings.users is not None:
                users = parts[_USERS] or [no_users(self._log)]
                events, report = partition.join_users(events, users, self._log.user_files[0].path)
                reports.append(report)
            found.columns = sanity.look_at_columns(partition.new_events(events))
            yield number, to_bytes(events)
            yield beam.pvalue.TaggedOutput("report", merged(reports))
            yield beam.pvalue.TaggedOutput("sanity", found)


class _Window(beam.DoFn):
    """Leaves a partition the newest days, and looks at these."""

    def __init__(self, log: Log):
        self._log = log

    def process(self, element: tuple[int, bytes], last: int) -> Iterator[Any]:
        number, data = element
        days = self._log.settings.window_days
        assert days is not None
        events, report = partition.newer(from_bytes(data), last, days)
        found = sanity.look(events)
        found.columns = sanity.look_at_columns(partition.new_events(events))
        if len(events):
            yield number, to_bytes(events)
        yield beam.pvalue.TaggedOutput("report", report)
        yield beam.pvalue.TaggedOutput("sanity", found)


class _CapUsers(beam.DoFn):
    """Leaves each user of a partition the newest events."""

    def __init__(self, log: Log):
        self._log = log

    def process(self, element: tuple[int, bytes], cut: Optional[splitting.Cut]) -> Iterator[Any]:
        number, data = element
        events, report = partition.newest_of_users(from_bytes(data), self._log.settings, cut)
        yield number, to_bytes(events)
        yield beam.pvalue.TaggedOutput("report", report)


class _OnlyUsers(beam.DoFn):
    """Leaves a partition the events of the users in a table of them; who has none of them is gone."""

    def __init__(self, limit: int):
        self._limit = limit

    def process(self, element: tuple[int, bytes], users: bytes) -> Iterator[Any]:
        number, data = element
        events, report = partition.only_users(
            from_bytes(data), from_bytes(users)["user_id"].combine_chunks(), self._limit
        )
        if len(events):
            yield number, to_bytes(events)
        yield beam.pvalue.TaggedOutput("report", report)


class _Write(beam.DoFn):
    """Makes a partition's examples and writes them, a shard for each split."""

    def __init__(self, log: Log, split_folders: dict[str, str], temporary: str, keep: Optional[int]):
        self._log = log
        self._split_folders = split_folders
        self._temporary = temporary
        self._keep = keep

    def process(
        self,
        element: tuple[int, bytes],
        early: Report,
        cut: Optional[splitting.Cut],
        common: Optional[pa.Array],
        newest: Optional[bytes],
        last: Optional[int],
    ) -> list[Report]:
        if problem(early, self._log.settings.max_rejected_fraction, ""):
            return []  # the run will stop: spare the work
        number, data = element
        report = Report()
        marked = partition.mark(from_bytes(data), self._log.settings, cut)
        slices = partition.examples(
            marked,
            self._log.settings,
            cut,
            common,
            report,
            None if newest is None else from_bytes(newest),
            last,
            self._log.excluded_types,
            self._keep,
        )
        for split in self._split_folders:
            name = SHARD_NAME.format(index=number, count=self._log.partitions)
            if split in KEPT_OF.values():
                path = os.path.join(self._split_folders[split], name.replace(".gz", COLUMNS))
                write_columns(path, map(_plain, slices[split]), self._temporary)
                continue
            records = (record for columns in slices[split] for record in serialize(columns))
            write_shard(os.path.join(self._split_folders[split], name), records, self._temporary)
        progress(f"wrote {sum(report.split_events.values()):,} examples")
        return [report]


def _plain(columns: dict[str, pa.Array]) -> pa.Table:
    """A table without dictionaries."""
    history = columns["history"]
    return pa.table(
        {**columns, "history": pa.ListArray.from_arrays(history.offsets, history.values.dictionary_decode())}
    )


def _parts(source: tuple[str, reading.TableFile]) -> list[tuple[str, reading.TableFile, int]]:
    kind, file = source
    try:
        return [(kind, file, part) for part in reading.parts(file)]
    except InputError:
        return [(kind, file, 0)]  # reading it will say what is wrong


def _read_known(file: tuple[str, bool], log: Log) -> Iterator[tuple[int, _Payload]]:
    path, negative = file
    for columns in read_file(path, features_of_before(log.settings, negative)):
        for number, share in by_partition(of_before(columns, log.settings, negative), log.partitions):
            yield number, (_KNOWN, to_bytes(share))


def _latest(element: tuple[int, bytes]) -> int:
    return pc.max(from_bytes(element[1])["timestamp"]).as_py()


def _greatest(times: Iterable[int]) -> int:
    return max(times, default=0)


def _find_cut(partitions: beam.pvalue.PCollection, log: Log) -> beam.pvalue.PCollection:
    """Returns the cut at the exact fraction of the events, as one element; None for an empty log.

    First all events are counted by coarse buckets of time, then only those in the bucket of the cut are looked at.
    """
    fraction = log.settings.split.eval_fraction
    timed = log.settings.columns.timestamp is not None
    bits = splitting.bucket_bits(timed) + (PLACE_BITS if log.settings.spread and not timed else 0)
    place = (
        partitions
        | "Histogram" >> beam.Map(_histogram, bits)
        | "AddHistograms" >> beam.CombineGlobally(_added)
        | "Locate" >> beam.Map(splitting.locate, fraction)
    )
    return (
        partitions
        | "InBucket" >> beam.Map(_in_bucket, bits, beam.pvalue.AsSingleton(place))
        | "Candidates" >> beam.CombineGlobally(_concatenated)
        | "Cut" >> beam.Map(_cut, beam.pvalue.AsSingleton(place))
    )


def _histogram(element: tuple[int, bytes], bits: int) -> Counter:
    return splitting.histogram(partition.new_events(from_bytes(element[1]))["timestamp"].to_numpy(), bits)


def _added(counters: Iterable[Counter]) -> Counter:
    total: Counter = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _in_bucket(element: tuple[int, bytes], bits: int, place: Optional[tuple[int, int]]) -> np.ndarray:
    table = partition.new_events(from_bytes(element[1]))
    keys = np.stack([table["timestamp"].to_numpy(), table[ORDER].to_numpy()])
    return keys[:, keys[0] >> bits == place[0]] if place else keys[:, :0]


def _concatenated(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty((2, 0), dtype=np.int64), *arrays], axis=1)


def _cut(keys: np.ndarray, place: Optional[tuple[int, int]]) -> Optional[splitting.Cut]:
    return splitting.cut_at(keys[0], keys[1], place[1]) if place else None


def _count_users(element: tuple[int, bytes], settings: Any, cut: Optional[splitting.Cut]) -> bytes:
    counts = partition.event_counts(partition.mark(from_bytes(element[1]), settings, cut), "user_id")
    return to_bytes(partition.busiest_users(counts, settings.top_users))


def _busiest(parts: Iterable[bytes], limit: int) -> bytes:
    empty = pa.table({"user_id": pa.array([], pa.string()), "events": pa.array([], pa.int64())})
    return to_bytes(partition.busiest_users(pa.concat_tables([empty, *map(from_bytes, parts)]), limit))


def _count_items(element: tuple[int, bytes], settings: Any, cut: Optional[splitting.Cut]) -> bytes:
    return to_bytes(partition.event_counts(partition.mark(from_bytes(element[1]), settings, cut), "item_id"))


def _common_items(data: bytes, minimum: int) -> pa.Array:
    counts = from_bytes(data)
    return counts["item_id"].filter(pc.greater_equal(counts["events"], minimum)).combine_chunks()


def _events_of(element: tuple[int, bytes], settings: Any, cut: Optional[splitting.Cut], items: pa.Array) -> bytes:
    return to_bytes(partition.counted_events(partition.mark(from_bytes(element[1]), settings, cut), items))


def _newest_of_items(parts: Iterable[bytes], most: int) -> bytes:
    empty = {
        "item_id": pa.array([], pa.string()),
        "timestamp": pa.array([], pa.int64()),
        ORDER: pa.array([], pa.int64()),
    }
    return to_bytes(partition.newest_of_items(pa.concat_tables([pa.table(empty), *map(from_bytes, parts)]), most))


def _write_report(report: Report, log: Log, folder: str, cut: Optional[splitting.Cut], found: sanity.Sanity) -> None:
    from tfx.dsl.io import fileio

    fileio.makedirs(folder)
    facts = as_facts(report, log, cut, found)
    with fileio.open(os.path.join(folder, "report.json"), "w") as target:
        target.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    with fileio.open(os.path.join(folder, log_profile.FILE_NAME), "w") as target:
        target.write(log_profile.to_json(sanity.profile(found, timed=log.settings.columns.timestamp is not None)))
    with fileio.open(os.path.join(folder, "rejected.csv"), "w") as target:
        target.write(as_csv(report.samples))
