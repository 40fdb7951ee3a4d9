"""InteractionGen against TFX's CsvExampleGen on the same file: seconds and peak memory, in alternation.

    python -m benchmarks.interaction_gen interactions.csv

Without a file a log of --rows events is made, and read by InteractionGen as JSON lines and as Parquet too. The file
needs the columns user_id, item_id, rating and timestamp. Each run is a process of its own; its imports are not in the
time. InteractionGen does more than CsvExampleGen: it cleans, orders and splits the events and adds histories. --before
compares InteractionGen with that of another version, which lies in a folder of its own: git worktree add FOLDER COMMIT.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from typing import Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=unused"]


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", help="a CSV file; made if not given")
    parser.add_argument("--rows", type=int, default=100_000, help="events of the log that is made")
    parser.add_argument("--runs", type=int, default=3, help="runs of each generator")
    parser.add_argument("--only", choices=["InteractionGen", "CsvExampleGen"], help="run only this one, once")
    parser.add_argument("--before", metavar="FOLDER", help="a checkout of another version to compare with")
    arguments = parser.parse_args()
    if arguments.only and arguments.log:
        print(json.dumps(measure(arguments.only, arguments.log)))
        return
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.abspath(arguments.log) if arguments.log else os.path.join(folder, "log.csv")
        generators = [arguments.only] if arguments.only else ["InteractionGen", "CsvExampleGen"]
        logs = {generator: (generator, log) for generator in generators}
        if arguments.before:
            logs["before"] = ("InteractionGen", log)
        if not arguments.log:
            write_log(log, arguments.rows)
            if "InteractionGen" in generators:
                others = write_other_formats(log)
                logs |= {f"from {name}": ("InteractionGen", path) for name, path in others.items()}
        compare(logs, arguments.runs, arguments.before)


def compare(logs: dict[str, tuple[str, str]], runs: int, before: Optional[str]) -> None:
    """Runs generators on logs in alternation and prints the medians; both stand under the name of a row.

    Args:
        logs: Generators and logs.
        runs: How often.
        before: The folder with the code of the row of that name.
    """
    results: dict[str, list[dict[str, float]]] = {row: [] for row in logs}
    for run in range(runs):
        for row, (generator, log) in logs.items():
            # Each version by its own benchmark, which knows its modules.
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.interaction_gen", log, "--only", generator]
            code = os.path.abspath(before if row == "before" and before else ROOT)
            environment = {**os.environ, "PYTHONPATH": code}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=code)
            if done.returncode:
                sys.exit(f"{generator} failed:\n{done.stderr[-3000:]}")
            result = {"cpu_seconds": float("nan"), **json.loads(done.stdout.splitlines()[-1])}
            results[row].append(result)
            print(
                f"run {run + 1}  {row:15} {result['seconds']:8.2f} s  {result['cpu_seconds']:8.2f} CPU s  "
                f"{result['megabytes']:8,.0f} MB",
                flush=True,
            )
    median = {row: statistics.median(result["seconds"] for result in results[row]) for row in logs}
    print(f"\nmedians of {runs}:")
    for row, (_, log) in logs.items():
        peak = statistics.median(result["megabytes"] for result in results[row])
        cpu = statistics.median(result["cpu_seconds"] for result in results[row])
        idle = statistics.median(result["idle_megabytes"] for result in results[row])
        print(
            f"{row:15} {median[row]:8.2f} s ({cpu:.2f} CPU s), peak {peak:,.0f} MB ({idle:,.0f} MB of it before the "
            f"run), file of {os.path.getsize(log) / 1e6:.1f} MB"
        )
    if "CsvExampleGen" in median and "InteractionGen" in median:
        print(f"InteractionGen is {median['CsvExampleGen'] / median['InteractionGen']:.1f} times as fast")
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("tfx", "apache-beam", "pyarrow", "numpy"))
    print(f"Python {platform.python_version()}, {packages}; {os.cpu_count()} cores, {platform.platform()}")


def measure(generator: str, log: str) -> dict[str, float]:
    """Runs one generator on `log` in this process; returns seconds and megabytes."""
    from tfx.types import standard_artifacts

    with tempfile.TemporaryDirectory() as folder:
        examples = standard_artifacts.Examples()
        examples.uri = os.path.join(folder, "examples")
        run = {"InteractionGen": interaction_gen, "CsvExampleGen": csv_example_gen}[generator](log, folder, examples)
        idle = peak_megabytes()
        started, cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "megabytes": peak_megabytes(), "idle_megabytes": idle}


def interaction_gen(log, folder, examples):  # type: ignore[no-untyped-def]
    """Returns a function that runs InteractionGen on `log`."""
    from components.data_profile import RejectedRows
    from components.interaction_gen.executor import Executor
    from components.interaction_gen.settings import InteractionSettings

    rejects = RejectedRows()
    rejects.uri = os.path.join(folder, "rejects")
    settings = InteractionSettings.model_validate({"columns": {"rating": "rating"}}).model_dump_json()
    context = Executor.Context(beam_pipeline_args=list(BEAM_ARGS), tmp_dir=os.path.join(folder, "tmp"), unique_id="1")
    executor = Executor(context)
    outputs = {"examples": [examples], "rejects": [rejects]}
    return lambda: executor.Do({}, outputs, {"settings": settings, "input_path": log})


def csv_example_gen(log, folder, examples):  # type: ignore[no-untyped-def]
    """Returns a function that runs CsvExampleGen on `log`."""
    from tfx.components.example_gen import utils
    from tfx.components.example_gen.csv_example_gen.executor import Executor
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    pattern = example_gen_pb2.Input.Split(name="single", pattern=os.path.basename(log))
    inputs = example_gen_pb2.Input(splits=[pattern])
    properties = {
        "input_base": os.path.dirname(log),
        "input_config": proto_utils.proto_to_json(inputs),
        "output_config": proto_utils.proto_to_json(utils.make_default_output_config(inputs)),
        "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
        "output_file_format": example_gen_pb2.FORMAT_TFRECORDS_GZIP,
    }
    context = Executor.Context(beam_pipeline_args=list(BEAM_ARGS), tmp_dir=os.path.join(folder, "tmp"), unique_id="1")
    executor = Executor(context)
    return lambda: executor.Do({}, {"examples": [examples]}, properties)


def peak_megabytes() -> float:
    """Returns the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def write_log(path: str, rows: int) -> None:
    """Writes a log of `rows` events of rows / 100 users with popularity like 1 / rank, in random order."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    chance = np.random.default_rng(0)
    users = max(rows // 100, 2)
    items = 1 + (chance.pareto(1.0, rows) * 50).astype(np.int64) % max(users * 2, 10)
    columns = {
        "user_id": chance.integers(1, users + 1, rows),
        "item_id": items,
        "rating": chance.integers(1, 6, rows),
        "timestamp": 1_600_000_000 + chance.integers(0, 86_400 * 365, rows),
    }
    csv.write_csv(pa.table(columns), path)


def write_other_formats(path: str) -> dict[str, str]:
    """Writes the log at `path` as JSON lines and as Parquet beside it; returns their paths by the formats' names."""
    from pyarrow import csv, parquet

    table = csv.read_csv(path)
    paths = {"JSON lines": f"{path}.jsonl", "Parquet": f"{path}.parquet"}
    parquet.write_table(table, paths["Parquet"])
    with open(paths["JSON lines"], "w", encoding="utf-8") as lines:
        for batch in table.to_batches(max_chunksize=100_000):
            lines.writelines(f"{json.dumps(row)}\n" for row in batch.to_pylist())
    return paths


if __name__ == "__main__":
    main()
