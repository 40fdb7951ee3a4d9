"""What the generators share: CSV files and a command line."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Optional


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def command(description: Optional[str], write: Callable[..., None], rows: int, **paths: str) -> None:
    """Runs a generator from the command line; `paths` are optional arguments of `write`, with their help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="where the files go")
    parser.add_argument("--rows", type=int, default=rows, help="about so many events")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    for name, text in paths.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=text)
    arguments = parser.parse_args()
    write(arguments.out, arguments.rows, arguments.seed, **{name: getattr(arguments, name) for name in paths})
    print(f"synthetic data in {arguments.out}: {', '.join(sorted(path.name for path in arguments.out.iterdir()))}")
