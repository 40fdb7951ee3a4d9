"""What `recommender validate` does: checks the config against the head of its data, within seconds and without TFX."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from components.features import column_of
from components.tables import check_columns, find_files, read_blocks
from components.versions import check_writable, model_dir
from pipeline.config import Config
from pipeline.run import data_paths


def validate(config: Config, console: Console) -> None:
    """Prints what was checked.

    Raises:
        InputError: Something is wrong.
    """
    check_writable(config.output / config.name)
    check_writable(model_dir(config.serving.base_path, config.name))
    console.print(f"✓ config {escape(config.name)}: all keys are known and valid", highlight=False)
    data = data_paths(config)
    log = config.data.interactions
    columns = list(log.log_columns().values())
    for path in filter(None, (data.interactions, data.evaluation)):
        _check_table("interactions", path, log.format, log.delimiter, columns, console)
    if log.users is not None:
        names = [log.users.id, *(column_of(name, feature) for name, feature in log.users.features.items())]
        _check_table("users", data.users, log.users.format, log.users.delimiter, names, console)
    if data.catalogue:
        items = config.data.catalogue
        names = [items.item_id, *(column_of(name, feature) for name, feature in items.features.items())]
        _check_table("catalogue", data.catalogue, items.format, items.delimiter, names, console)


def _check_table(
    what: str, path: str, file_format: str, delimiter: str, columns: Sequence[str], console: Console
) -> None:
    """Finds the files, their columns, and reads the first rows."""
    wanted = sorted(set(columns))
    files = find_files(path, file_format, what)  # type: ignore[arg-type]
    for file in files:
        check_columns(file, wanted, delimiter)
    block = next(iter(read_blocks(files[0], wanted, delimiter)), None)
    rows = 0 if block is None else len(block.rows)
    bad = [] if block is None else block.malformed
    size = sum(file.size for file in files)
    console.print(
        f"✓ {what}: {len(files)} file(s), {size / 2**20:.1f} MiB, columns {', '.join(wanted)}; "
        f"first {rows:,} rows read, {len(bad)} of them malformed",
        soft_wrap=True,
        highlight=False,
    )
