"""What `recommender validate` does, in seconds and without TFX: it looks at a sample of the data by the rules of a run.

And what each run does first.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.catalogue_gen import catalogue
from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError
from components.evaluator.baselines.settings import NO_IMPLICIT
from components.indexer.settings import NO_SCANN
from components.interaction_gen import outcome
from components.interaction_gen.log import UNITS, inspect
from components.interaction_gen.preview import Preview, preview
from components.interaction_gen.sanity import as_time
from components.tables import contents, encoders, reading, sampling, vectors
from components.tables.features import Feature, column_of
from components.tables.formats import TableSettings
from components.tables.row_report import by_reason, counted, merged
from components.tables.rows import ORDER
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.data.paths import DataPaths, data_paths
from pipeline.data.profile import KINDS, profile
from pipeline.data.vectors import with_vectors

_EVENTS = 3
_CELL = 40
_NAMED = 100


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    text: str
    details: tuple[str, ...] = ()
    """Lines that say more of it."""
    is_warning: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same as JSON has it, by key."""


def validate(config: Config) -> Iterator[Finding]:
    """Checks one thing after the other and yields what was found.

    Raises:
        InputError: Something is wrong.
    """
    check_writable(config.place())
    check_writable(model_dir(config.serving.base_path, config.name))
    yield Finding(f"config {config.name}: all keys are known and valid, output and base path can be written")
    data = data_paths(config)
    _check_packages(config)
    settings = config.data.interactions.settings()
    if data.evaluation:
        settings = settings.model_copy(
            update={"split": settings.split.model_copy(update={"eval_path": data.evaluation})}
        )
    exclude = config.serving.exclude if isinstance(config.serving.exclude, tuple) else ()
    found = preview(inspect(settings, data.interactions, data.users, config.data.interactions.cutoff, exclude))
    yield from _of_log(found)
    found.check()
    yield _of_events(found)
    for warning in found.facts["warnings"]:
        yield Finding(warning, is_warning=True)
    _check_limits(found)
    config = with_vectors(config, data)
    if data.catalogue:
        yield from _of_catalogue(config, data, found)
    else:
        yield from _of_matrices(config.data.catalogue.settings(), pc.unique(found.events["item_id"].combine_chunks()))


def check_data(config: Config, data: DataPaths) -> Config:
    """Checks the head of each table, and returns the config with what only the data say: see `with_vectors`.

    Raises:
        InputError: A file, a column or a package is missing, or a file can't be read.
    """
    _check_packages(config)
    log = config.data.interactions
    for path in filter(None, (data.interactions, data.evaluation)):
        _check_table("interactions", path, log, list(log.log_columns().values()))
    if log.users is not None:
        names = [log.users.id, *(column_of(name, feature) for name, feature in log.users.features.items())]
        _check_table("users", data.users, log.users, names)
    if data.catalogue:
        _check_table("catalogue", data.catalogue, config.data.catalogue, config.data.catalogue.columns())
    config = with_vectors(config, data)
    for feature in config.data.catalogue.matrices().values():
        with vectors.opened(feature, config.data.catalogue.item_id):
            pass
    return config


def _check_packages(config: Config) -> None:
    if "ials" in config.evaluation.baselines.names and importlib.util.find_spec("implicit") is None:
        raise InputError(NO_IMPLICIT)
    for encoder in config.data.catalogue.encoders().values():
        encoders.check(encoder)
    if config.serving.index.type == "scann" and not _scann_fits():
        raise InputError(NO_SCANN)


def _scann_fits() -> bool:
    """Whether ScaNN is installed beside the TensorFlow that it is made for; importing either takes seconds."""
    try:
        return importlib.metadata.version("scann") == "1.3.2" and importlib.metadata.version("tensorflow").startswith(
            "2.16."
        )
    except importlib.metadata.PackageNotFoundError:
        return False


def _check_table(what: str, path: str, how: TableSettings, columns: Sequence[str]) -> list[reading.TableFile]:
    """Returns the files; all their columns were looked up and the first rows read."""
    files = reading.find_files(path, how.format, what)
    wanted = sorted(set(columns))
    reading.check_table(files, wanted, how)
    next(iter(reading.read_blocks(files[0], wanted, how)), None)
    return files


def _of_log(found: Preview) -> Iterator[Finding]:
    log = found.log
    roles = {column: setting.split(".")[-1] for setting, column in log.settings.log_columns().items()}
    kinds = {}
    if log.settings.columns.timestamp is not None:
        kinds[log.settings.columns.timestamp] = UNITS.get(log.unit) or f"times as {log.settings.timestamp_format}"
    reading.check_table(log.files, list(roles), log.settings)
    yield _of_table("interactions", log.files, log.settings, found.rows, roles, kinds)
    if log.settings.users is not None:
        users = log.settings.users
        roles = {users.id: "id", **{column_of(name, one): name for name, one in users.features.items()}}
        reading.check_table(log.user_files, list(roles), users)
        yield _of_table("users", log.user_files, users, found.users, roles)


def _of_table(
    what: str,
    files: Sequence[reading.TableFile],
    how: TableSettings,
    sample: sampling.Sample,
    roles: Mapping[str, str],
    kinds: Mapping[str, str] = {},
) -> Finding:
    """Says how the files of a table are understood.

    Args:
        what: What they hold.
        files: The files.
        how: How they are read.
        sample: What was read.
        roles: What the settings take each column for.
        kinds: What a column holds, where that is known better than its values tell.
    """
    share = sample.share
    seen = {name: profile(sample.head[name], how) for name in roles if name in sample.head}
    columns = [
        {"column": name, "as": roles[name], "type": kinds.get(name) or KINDS[one.kind], "examples": list(one.examples)}
        for name, one in seen.items()
    ]
    others = [name for name in reading.column_names(files[0], how) if name not in roles]
    size = sum(file.size for file in files)
    facts = {
        "files": len(files),
        "bytes": size,
        "format": _form(files[0], how),
        "rows_read": share.rows,
        "all_read": share.whole,
        "rows": share.rows if share.whole else share.of_all and round(share.of_all),
        "columns": columns,
        "other_columns": others,
    }
    lines = [
        [name, roles[name], kinds.get(name) or KINDS[one.kind], ", ".join(one.examples)] for name, one in seen.items()
    ]
    details = _aligned([["column", "as", "type", "such as"], *lines]) if lines else []
    if others:
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        details.append(f"not read: {', '.join(others[:_NAMED])}{more}")
    said = f"{what}: {len(files)} file{'s' * (len(files) != 1)}, {size / 2**20:,.1f} MiB, {facts['format']}; "
    return Finding(said + _read(share), tuple(details), facts={what: facts})


def _read(share: sampling.Share) -> str:
    if share.whole:
        return f"all {share.rows:,} rows read"
    return f"a sample of {share.rows:,} rows read" + (f" of about {share.of_all:,.0f}" if share.of_all else "")


def _form(file: reading.TableFile, how: TableSettings) -> str:
    """Says how a file is read."""
    if file.format == "parquet":
        return "Parquet"
    packed = reading.compression(file)
    if file.format == "tfrecord":
        said = ["TFRecords"]
    elif file.format == "jsonl":
        said = ["JSON lines", how.encoding]
    else:
        said = [f"CSV with {how.delimiter!r} between columns", "a header" if how.names is None else "no header"]
        said += {'"': [], None: ["no quotes"]}.get(how.quote, [f"values in {how.quote}"])
        said += [f"escapes by {how.escape}"] if how.escape else []
        said.append(how.encoding)
    return ", ".join([*said, *([packed] if packed else [])])


def _of_events(found: Preview) -> Finding:
    facts = {name: found.facts[name] for name in ("rows", "rejected", "dropped", "events", "cut", "span")}
    users, items = (pc.count_distinct(found.events[name]).as_py() for name in ("user_id", "item_id"))
    said = f"events: {len(found.events):,} of {users:,} users with {items:,} items"
    if found.facts["timed"]:
        said += f", {as_time(found.facts['span'][0])} to {as_time(found.facts['span'][1])} UTC"
    first = _first_events(found)
    lines = _aligned([list(first[0]), *([_cell(value) for value in event.values()] for event in first)])
    split = outcome.summary({**found.facts, "warnings": []})
    facts |= {"users": users, "items": items, "first_events": first, "split": found.log.settings.split.method}
    return Finding(said, (*lines, f"split by {found.log.settings.split.method}: {split}"), facts={"log": facts})


def _first_events(found: Preview) -> list[dict[str, Any]]:
    """The first events of the log as they are understood."""
    events = found.events.sort_by(ORDER).slice(0, _EVENTS)
    columns = {name: events[name].to_pylist() for name in events.column_names if not name.startswith("#")}
    if found.facts["timed"]:
        columns["timestamp"] = [as_time(time) for time in columns["timestamp"]]
    else:
        del columns["timestamp"]
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def _check_limits(found: Preview) -> None:
    """Raises the InputError that the ExampleValidator would end a run with, for values that the settings rule out."""
    settings, events = found.log.settings, found.events
    features: dict[str, Feature] = {**settings.features, **(settings.users.features if settings.users else {})}
    lines = []
    bounds = {name: (one.min, one.max) for name, one in features.items() if (one.min, one.max) != (None, None)}
    if settings.rating_range is not None:
        bounds["rating"] = settings.rating_range
    for name, (lowest, highest) in bounds.items():
        values = events[name].drop_null().to_numpy()
        low = np.float32(-np.inf if lowest is None else lowest)
        high = np.float32(np.inf if highest is None else highest)
        outside = values[(values < low) | (values > high)]
        if len(outside):
            count = f"{len(outside):,} of {len(events):,} events"
            lines.append(f"{name}: {count} are outside of {low:g} to {high:g}, such as {outside[0]:g}")
    for name, one in features.items():
        if one.values is not None:
            texts = events[name].combine_chunks().drop_null()
            others = texts.filter(pc.invert(pc.is_in(texts, value_set=pa.array(one.values, pa.string()))))
            if len(others):
                count = f"{len(others):,} of {len(events):,} events"
                lines.append(f"{name}: {count} have values that are not listed, such as {others[0].as_py()!r}")
    if lines:
        raise InputError(
            "the data doesn't fit the schema that the settings make; mend the data or the settings:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def _of_catalogue(config: Config, data: DataPaths, found: Preview) -> Iterator[Finding]:
    settings = config.data.catalogue.settings()
    files = reading.find_files(data.catalogue, settings.format, "catalogue")
    reading.check_table(files, settings.columns(), settings)
    sample = sampling.read_table(
        files,
        settings.columns(),
        settings,
        sampling.SIZE,
        lambda piece, _: catalogue.clean(piece.block, piece.file, settings),
    )
    roles = {settings.item_id: "item_id"}
    for name, feature in settings.in_table().items():
        roles.setdefault(column_of(name, feature), f"{name} ({feature.kind})")
    for column in settings.columns():
        roles.setdefault(column, "display")
    yield _of_table("catalogue", files, settings, sample, roles)
    table, report = catalogue.joined(sample.tables), merged(sample.reports)
    if settings.repeated_ids == "first":
        table = catalogue.first_values(table)
    path = files[0].path if len(files) == 1 else "the catalogue"
    if why := catalogue.fault(table, report, settings, path):
        raise InputError(why)
    said = f"items: {len(table):,} listed"
    ids = table["item_id"].combine_chunks()
    if sample.share.whole:
        events = pc.value_counts(found.events["item_id"].combine_chunks())
        items = pa.table({"item_id": events.field(0), "events": events.field(1)})
        lacking, why = catalogue.unlisted(table, items, settings, path)
        if why:
            raise InputError(why)
        said += f", {len(lacking):,} only in the log"
        ids = pa.concat_arrays([ids, pa.array(lacking, pa.string())])
    shown = [text.as_py() for text in table["display"].slice(0, _EVENTS)]
    said += f"; rejected {counted(by_reason(report.rejected))}"
    facts = {"items": {"listed": len(table), "shown_as": shown}}
    yield Finding(said, (f"shown as {', '.join(map(repr, shown))}",), facts=facts)
    held = {name: contents.content(table[name].combine_chunks()) for name in settings.in_table()}
    for warning in contents.warnings(held, "listed items"):
        yield Finding(warning, is_warning=True)
    yield from _of_matrices(settings, ids, sample.share.whole)


def _of_matrices(settings: CatalogueSettings, items: pa.Array, all_items: bool = True) -> Iterator[Finding]:
    """Says what the vectors beside the catalogue are, and which items have none, of those that were read."""
    for name, feature in settings.matrices().items():
        with vectors.opened(feature, settings.item_id) as matrix:
            matrix.check(sampling.SIZE)
            placed = matrix.of(items)
            count, width = matrix.values.shape
            yield Finding(
                f"vectors {name}: {count:,} of {width:,} numbers, {matrix.values.dtype}, such as of "
                f"{matrix.ids[0].as_py()!r}",
                facts={f"vectors_{name}": {"count": count, "dim": width, "type": str(matrix.values.dtype)}},
            )
            if all_items and (said := placed.lacking(name)):
                yield Finding(said, is_warning=True)


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
