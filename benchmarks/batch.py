"""`recommender batch` for all users of a model with random weights: time, and the peak memory of all its processes.

    python -m benchmarks.batch [--users 700000 --items 57000 --dim 32 --stored 50 -k 100]

Each of `--outputs` is one run of the command; `--beam` repeats each with other options of Beam. `--plain N` first
writes the answers to N users by a loop with a Python list a user, and by the command, a few times in turn, both without
the time to import TensorFlow. What is answered means nothing; what it costs is what a trained model costs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

NAME = "batch"
_REQUEST = 512
"""Users that the plain loop asks for at a time."""
_ROUNDS = 3
_LOOK = 0.2
"""Seconds between two looks at the memory."""


class Cost(NamedTuple):
    """What a run took."""

    seconds: float
    cpu_seconds: float
    """Of all its processes."""
    memory: float
    """GiB, the most that all its processes had at the same time."""
    size: float
    """GiB that it wrote."""


def write_model(directory: Path, items: int, users: int, dim: int, stored: int, audience: bool = False) -> None:
    """Writes a servable of random weights, whose users have an embedding and a stored history each."""
    from benchmarks.compact import write_towers
    from components.indexer.index import Index
    from components.indexer.saving import save_servable
    from components.indexer.settings import IndexerSettings

    chance = np.random.default_rng(0)

    def vectors(count: int) -> np.ndarray:
        return chance.normal(size=(count, dim)).astype(np.float32)

    index = Index(
        item_ids=np.array([str(10_000_000 + row).encode() for row in range(items)], object),
        display=np.array([f"{chance.bytes(9).hex()}, the {row:,}th".encode() for row in range(items)], object),
        embedding=vectors(items),
        bias=chance.normal(size=items).astype(np.float32),
        popularity=chance.integers(0, 5_000, items).astype(np.float32),
        history_embedding=vectors(items),
        history_known=np.ones(items, bool),
        user_ids=np.array([str(500_000_000 + row).encode() for row in range(users)], object),
        user_embedding=vectors(users),
        user_context=np.full(users, b"", object),
        history_values=chance.integers(0, items, users * stored).astype(np.int32),
        history_splits=np.arange(users + 1, dtype=np.int64) * stored,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_towers(Path(folder, "towers"), dim)
        save_servable(str(Path(folder, "towers")), index, IndexerSettings(audience=audience), NAME, str(directory))


def plain(model: Path, users: Sequence[str], k: int, out: Path) -> None:
    """Writes user_id, top1 … topk as CSV, a user at a time."""
    import tensorflow as tf

    recommend = tf.saved_model.load(str(model)).signatures["recommend"]
    remaining = iter(users)
    with open(out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user_id", *(f"top{rank}" for rank in range(1, k + 1))])
        while some := list(islice(remaining, _REQUEST)):
            nothing = tf.fill([len(some), 0], "")
            answer = recommend(user_id=tf.constant(some), history=nothing, exclude=nothing, k=tf.constant(k))
            rows = answer["item_ids"].numpy().tolist()
            writer.writerows([user, *(item.decode() for item in row)] for user, row in zip(some, rows))


def compare(folder: Path, model: Path, users: int, k: int) -> None:
    """Prints how long the plain loop and the command take for the same users, and checks that they write the same."""
    from pipeline.batch.answers import Wish
    from pipeline.batch.outputs import output_of
    from pipeline.batch.run import Request, batch
    from pipeline.config import load_config

    with open(model / "assets" / "users.txt", encoding="utf-8") as file:
        some = [line.rstrip("\n") for line in islice(file, users)]
    (folder / "users.txt").write_text("\n".join(some), encoding="utf-8")
    config = load_config(folder / "config.yaml")
    wish = Request(Wish(k), output_of(folder / "top.csv"), str(folder / "users.txt"))
    ways: dict[str, Callable[[], object]] = {
        "a loop, a list a user": lambda: plain(model, some, k, folder / "plain.csv"),
        "recommender batch": lambda: batch(config, wish),
    }
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            started, used = time.perf_counter(), time.process_time()
            way()
            costs[name].append((time.perf_counter() - started, time.process_time() - used))
    if (folder / "plain.csv").read_bytes() != (folder / "top.csv").read_bytes():
        print("the two files differ: scores that are equal but for their rounding change places")
    for name, found in costs.items():
        seconds, cpu = (statistics.median(column) for column in zip(*found))
        print(f"{name}: {users:,} users in {seconds:.1f} s, {cpu:.1f} CPU s", flush=True)


def run_command(folder: Path, out: str, k: int, more: Sequence[str]) -> Cost:
    """Runs `recommender batch` for all users, or what `more` says."""
    arguments = ["batch", "--config", "config.yaml", "-k", str(k), "--out", out, *more]
    program = "from pipeline.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    before, started = os.times(), time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=folder, env=environment)
    memory = 0
    while process.poll() is None:
        memory = max(memory, tree_memory(process.pid))
        time.sleep(_LOOK)
    seconds, after = time.monotonic() - started, os.times()
    if process.returncode:
        sys.exit(process.returncode)
    files = [folder / out] if (folder / out).is_file() else list((folder / out).iterdir())
    size = sum(file.stat().st_size for file in files)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(seconds, cpu, memory / 2**30, size / 2**30)


def tree_memory(pid: int) -> int:
    """Returns the bytes of memory that a process and those that it started have; 0 if it is gone."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        children = " ".join(tasks.read_text() for tasks in Path(f"/proc/{pid}/task").glob("*/children")).split()
    except OSError:
        return 0
    return resident + sum(tree_memory(int(child)) for child in children)


def main() -> None:
    """Makes the model, runs the command for each output, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("users", 700_000), ("items", 57_000), ("dim", 32), ("stored", 50), ("plain", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument(
        "--outputs", nargs="+", default=["top.parquet", "top.csv", "top.tfrecord"], help="files, or folders of Parquet"
    )
    parser.add_argument("--audiences", action="store_true", help="the best users of all items, not items of all users")
    parser.add_argument("--beam", nargs="*", default=[""], metavar="OPTIONS", help="options of Beam, in quotes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "models" / NAME / "1"
        used = time.process_time()
        write_model(model, options.items, options.users, options.dim, options.stored, options.audiences)
        print(f"the model took {time.process_time() - used:.0f} CPU s", flush=True)
        asked, count = (["--items", "all"], options.items) if options.audiences else ([], options.users)
        config = {
            "name": NAME,
            "data": {"interactions": {"path": "none.csv"}},
            "serving": {"base_path": str(folder / "models")},
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        if options.plain:
            compare(folder, model, options.plain, options.k)
        print(f"{options.users:,} users x {options.items:,} items x {options.dim}, top {options.k}", flush=True)
        print(
            "| output | Beam | s | CPU s | lists/s | peak memory, GiB | written, GiB |\n|---|---|---|---|---|---|---|"
        )
        for out in options.outputs:
            more = [] if Path(out).suffix else ["--format", "parquet"]
            more += ["--layout", "long"] if out.endswith(".csv") else []
            for beam in options.beam:
                arguments = ["--set", f"beam.pipeline_args={['--runner=FnApiRunner', *beam.split()]}"] if beam else []
                cost = run_command(folder, out, options.k, [*asked, *more, *arguments])
                figures = [f"{cost.seconds:.0f}", f"{cost.cpu_seconds:.0f}", f"{count / cost.seconds:,.0f}"]
                figures += [f"{cost.memory:.1f}", f"{cost.size:.2f}"]
                print(f"| {out} | {beam or 'default'} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
