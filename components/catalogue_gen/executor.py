"""CatalogueGen's executor: counts the log's items on Beam, makes the catalogue, describes it."""

import contextlib
import json
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pydantic
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.artifacts import Artifacts, describe_examples
from components.catalogue_gen import catalogue
from components.catalogue_gen.settings import CatalogueSettings
from components.drivers.fingerprint import note
from components.errors import InputError
from components.examples.catalogue import CATALOGUE_SPLIT
from components.examples.interactions import PAST_OF
from components.examples.reading import has_split, read_file, split_files
from components.examples.writing import SHARD_NAME, serialize, write_shard
from components.progress import progress
from components.tables import encoders, reading, vectors
from components.tables.arrow_bytes import add_counts, from_bytes, to_bytes
from components.tables.contents import Content, content, warnings
from components.tables.row_report import Report, by_reason, counted, merged, unreadable

_READ_RECORDS = 16_384


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executes CatalogueGen."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Reads the catalogue and writes one example an item.

        Raises:
            InputError: The catalogue or the settings can't be used, or the catalogue isn't one of the log's items.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        interactions = artifact_utils.get_single_instance(input_dict["interactions"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        settings, files = inspect(exec_properties["settings"], exec_properties["input_path"])
        shards = sorted(
            path
            for split in artifact_utils.decode_split_names(interactions.split_names)
            for path in fileio.glob(examples_utils.get_split_file_patterns([interactions], split)[0])
        )
        for past in filter(partial(has_split, interactions), PAST_OF.values()):
            shards += split_files(interactions, past)
        examples.split_names = artifact_utils.encode_split_names([CATALOGUE_SPLIT])
        folder = artifact_utils.get_split_uri([examples], CATALOGUE_SPLIT)
        outcome = os.path.join(self._get_tmp_dir(), "catalogue.json")
        with self._make_beam_pipeline() as pipeline:
            log_items = (
                pipeline
                | "Shards" >> beam.Create(shards)
                | "Spread" >> beam.Reshuffle()
                | "CountItems" >> beam.Map(count_items)
                | "AddItems" >> beam.CombineGlobally(add_counts)
            )
            _ = log_items | "Catalogue" >> beam.Map(_make, settings, files, folder, self._get_tmp_dir(), outcome)
        with fileio.open(outcome) as source:
            result = json.loads(source.read())
        if result["problem"]:
            raise InputError(result["problem"])
        note(exec_properties, examples.uri, of="catalogue")
        describe_examples(examples, result["summary"])


def inspect(settings_json: str, input_path: str) -> tuple[CatalogueSettings, list[reading.TableFile]]:
    """Returns the settings and the catalogue's files, whose columns are checked; no files for an empty path.

    Raises:
        InputError: A setting, a file or a column is wrong or missing, or an encoder is.
    """
    try:
        settings = CatalogueSettings.model_validate_json(settings_json)
    except pydantic.ValidationError as error:
        raise InputError(f"settings of CatalogueGen: {error}") from error
    if not input_path:
        if settings.in_table() or settings.display:
            raise InputError("the catalogue's features and display need a catalogue, but its path is not given")
        return settings, []
    files = reading.find_files(input_path, settings.format, "catalogue")
    reading.check_table(files, settings.columns(), settings)
    for encoder in settings.encoders().values():
        encoders.check(encoder)
    return settings, files


def count_items(path: str) -> bytes:
    """Returns item_id and events of a shard of interactions, as bytes."""
    counts = [add_counts([])]
    for batch in read_file(path, {"item_id": bytes}, _READ_RECORDS):
        items = pc.list_flatten(batch.column(0)).cast(pa.large_string()).cast(pa.string())
        distinct = pc.value_counts(items)
        counts.append(to_bytes(pa.table({"item_id": distinct.field(0), "events": distinct.field(1)})))
    return add_counts(counts)


def read(files: list[reading.TableFile], settings: CatalogueSettings) -> tuple[pa.Table, Report]:
    """Returns the rows of the catalogue's files, or one an item; what is wrong with them is in the report."""
    rows: list[pa.Table] = []
    reports: list[Report] = []
    for file in files:
        try:
            for part in reading.parts(file):
                for block in reading.read_blocks(file, settings.columns(), settings, part):
                    table, report = catalogue.clean(block, file, settings)
                    rows.append(catalogue.first_values(table) if settings.repeated_ids == "first" else table)
                    reports.append(report)
        except InputError as error:
            reports.append(unreadable(file.path, error))
    table = catalogue.joined(rows)
    return catalogue.first_values(table) if settings.repeated_ids == "first" else table, merged(reports)


def _make(
    log_items: bytes,
    settings: CatalogueSettings,
    files: list[reading.TableFile],
    folder: str,
    temporary: str,
    outcome: str,
) -> None:
    """Writes the catalogue's only shard, and to `outcome` the summary or the problem, which outlives Beam's frames."""
    items = from_bytes(log_items)
    table, report = read(files, settings)
    path = files[0].path if len(files) == 1 else "the catalogue"
    why = catalogue.fault(table, report, settings, path) if files else None
    added: list[str] = []
    lacking: list[str] = []
    if not why:
        added, why = catalogue.unlisted(table, items, settings, path) if files else (sorted_items(items), "")
    summary = ""
    if not why:
        try:
            lacking = _write(catalogue.extended(table, added), settings, folder, temporary)
        except InputError as error:
            why = str(error)
    if not why:
        never = len(table) - (len(items) - len(added))
        summary = (
            f"{len(table) + len(added):,} items: {len(table):,} listed ({never:,} of them never seen in the log), "
            f"{len(added):,} only in the log; rejected {counted(by_reason(report.rejected))}"
            + "".join(f"; {words}" for words in lacking)
            + "".join(f"; warning: {words}" for words in warnings(_contents(table, settings), "listed items"))
        )
    progress(f"{len(table):,} items listed, {len(added):,} only in the log")
    fileio.makedirs(os.path.dirname(outcome))
    with fileio.open(outcome, "w") as target:
        target.write(json.dumps({"problem": why or None, "summary": summary}))


def _contents(table: pa.Table, settings: CatalogueSettings) -> dict[str, Content]:
    return {name: content(table[name].combine_chunks()) for name in settings.features if name in table.column_names}


def sorted_items(items: pa.Table) -> list[str]:
    """Returns the item ids of a table of counts, sorted."""
    return sorted(items["item_id"].to_pylist())


def _write(columns: dict[str, pa.Array], settings: CatalogueSettings, folder: str, temporary: str) -> list[str]:
    """Writes the only shard of items, with the vectors that are beside the catalogue; returns what these lack.

    Raises:
        InputError: The vectors can't be used.
    """
    items = columns["item_id"]
    said = [
        vectors.lacking(name, len(items), column.null_count)
        for name, column in columns.items()
        if pa.types.is_fixed_size_list(column.type)
    ]
    with contextlib.ExitStack() as stack:
        placed = {}
        for name, matrix in settings.matrices().items():
            found = stack.enter_context(vectors.opened(matrix, settings.item_id))
            found.check()
            placed[name] = found.of(items)
        records = _records(columns, settings.encoders(), placed)
        write_shard(os.path.join(folder, SHARD_NAME.format(index=0, count=1)), records, temporary)
        said += [each.lacking(name) for name, each in placed.items()]
    return [words for words in said if words]


def _records(
    columns: dict[str, pa.Array], encoding: dict[str, encoders.Name], placed: dict[str, vectors.Placed]
) -> Iterator[bytes]:
    encode = {name: encoders.load(encoder) for name, encoder in encoding.items()}
    size = len(columns["item_id"])
    for first in range(0, size, _READ_RECORDS):
        if encode:
            progress(f"{first:,} of {size:,} items encoded")
        end = first + _READ_RECORDS
        part = {name: column[first:end] for name, column in columns.items()}
        beside = {name: catalogue.vector_lists(each.take(first, end)) for name, each in placed.items()}
        yield from serialize(catalogue.encoded(part, encode) | beside)
