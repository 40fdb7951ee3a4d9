"""Times `recommender reindex` after a change of the catalogue, and what `recommender run` took.

    python -m benchmarks.reindex [--items 100_000] [--events 1_000_000] [--folder FOLDER]

The log and the catalogue are synthetic (synthetic.py). Of the catalogue one item in a hundred is taken out, one in a
hundred is new, and the prices of all change.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import synthetic


def changed(catalogue: pa.Table) -> pa.Table:
    """The catalogue of another day."""
    count = len(catalogue) // 100
    new = catalogue.slice(0, count)
    ids = pa.array([f"new{number}" for number in range(count)])
    new = new.set_column(0, "item_id", ids)
    both = pa.concat_tables([catalogue.slice(count), new])
    price = pa.array(np.round(both["price"].to_numpy() * 1.1, 2))
    return both.set_column(both.column_names.index("price"), "price", price)


def timed(name: str, *options: str) -> None:
    """Runs a command of `recommender`; prints its output and what it took.

    Raises:
        SystemExit: It failed.
    """
    command = [str(Path(sys.executable).with_name("recommender")), name, *options]
    before, started = psutil.Process().cpu_times(), time.monotonic()
    code = subprocess.run(command, check=False).returncode
    after = psutil.Process().cpu_times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"\n{name}: {time.monotonic() - started:.1f} s, {cpu:.1f} s CPU\n", flush=True)
    if code not in (0, 3):  # a model that is no better than popular items is no failure here
        sys.exit(f"{name}: exit code {code}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where data and output stay")
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        config = synthetic.write(folder, options.events, options.events // 10, options.items)
        place = ["--config", str(config), "--set", f"output={folder / 'output'}"]
        place += ["--set", f"serving.base_path={folder / 'models'}"]
        timed("run", *place)
        file = folder / "catalogue.parquet"
        pq.write_table(changed(pq.read_table(file)), file)
        timed("reindex", *place)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
