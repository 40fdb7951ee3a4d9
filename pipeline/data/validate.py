"""What `recommender validate` does, and each run first: checks the data's files, columns and first rows without TFX."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence

from components.errors import InputError
from components.evaluator.baselines.settings import NO_IMPLICIT
from components.indexer.settings import NO_SCANN
from components.tables import encoders
from components.tables.features import column_of
from components.tables.formats import TableSettings
from components.tables.reading import check_table, find_files, read_blocks
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.data.paths import DataPaths, data_paths


def validate(config: Config) -> Iterator[str]:
    """Checks one thing after the other and yields what was found.

    Raises:
        InputError: Something is wrong.
    """
    check_writable(config.output / config.name)
    check_writable(model_dir(config.serving.base_path, config.name))
    yield f"config {config.name}: all keys are known and valid, output and base path can be written"
    yield from check_data(config, data_paths(config))


def check_data(config: Config, data: DataPaths) -> Iterator[str]:
    """Checks the head of each table and yields what was found.

    Raises:
        InputError: A file, a column or a package is missing, or a file can't be read.
    """
    if "ials" in config.evaluation.baselines.names and importlib.util.find_spec("implicit") is None:
        raise InputError(NO_IMPLICIT)
    for encoder in config.data.catalogue.encoders().values():
        encoders.check(encoder)
    if config.serving.index.type == "scann" and not _scann_fits():
        raise InputError(NO_SCANN)
    log = config.data.interactions
    columns = list(log.log_columns().values())
    for path in filter(None, (data.interactions, data.evaluation)):
        yield _check_table("interactions", path, log, columns)
    if log.users is not None:
        names = [log.users.id, *(column_of(name, feature) for name, feature in log.users.features.items())]
        yield _check_table("users", data.users, log.users, names)
    if data.catalogue:
        items = config.data.catalogue
        yield _check_table("catalogue", data.catalogue, items, items.columns())


def _scann_fits() -> bool:
    """Whether ScaNN is installed beside the TensorFlow that it is made for; importing either takes seconds."""
    try:
        return importlib.metadata.version("scann") == "1.3.2" and importlib.metadata.version("tensorflow").startswith(
            "2.16."
        )
    except importlib.metadata.PackageNotFoundError:
        return False


def _check_table(what: str, path: str, how: TableSettings, columns: Sequence[str]) -> str:
    """Finds the files and their columns, and reads the first rows."""
    wanted = sorted(set(columns))
    files = find_files(path, how.format, what)
    check_table(files, wanted, how)
    block = next(iter(read_blocks(files[0], wanted, how)), None)
    rows = 0 if block is None else len(block.rows)
    malformed = 0 if block is None else len(block.malformed)
    size = sum(file.size for file in files) / 2**20
    return (
        f"{what}: {len(files)} file(s), {size:.1f} MiB, columns {', '.join(wanted)}; first {rows:,} rows read, "
        f"{malformed} malformed"
    )
