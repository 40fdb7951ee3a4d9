"""The whole pipeline on synthetic logs of growing size: time and memory of each node, and how both grow.

    python -m benchmarks.scale [--events 100_000 1_000_000 10_000_000] [--folder FOLDER]

The logs are those of synthetic.py: no figure from here says anything of real quality. Memory is the resident memory of
all processes of the run together, at its highest while the node ran; what forked processes share counts for each of
them. The slope is that of a line through log(time) against log(events): 1 where time grows as the events do. What a
node takes whatever the events (imports, the model server's start) makes it smaller; the last step, from the second
largest log to the largest, has least of that, and is printed below the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks import synthetic

_NODE = re.compile(r"^✓ (\w+)\s+done\s+([0-9.]+) s")
_EVERY = 0.25  # seconds
_SHOWN = 0.5
"""Seconds that a node must take to be in the table."""


@dataclass
class Node:
    """What a node took."""

    seconds: float
    cpu_seconds: float
    """Of all processes of the run; it says more than the time where other work runs beside."""
    mebibytes: float


class Watch(threading.Thread):
    """Follows the memory and the processor time of a process and all its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._highest = 0.0
        self._cpu: dict[int, float] = {}
        """Seconds of each process, also of those that have ended, but for their last moment."""
        self._taken = 0.0

    def run(self) -> None:
        """Samples until the process ends."""
        while True:
            try:
                processes = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            total = 0
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                    total += process.memory_info().rss
                    times = process.cpu_times()
                    self._cpu[process.pid] = times.user + times.system
            self._highest = max(self._highest, total / 2**20)
            time.sleep(_EVERY)

    def take(self, seconds: float) -> Node:
        """What was seen since the last call, of a node that took so many seconds."""
        highest, self._highest = self._highest, 0.0
        cpu = sum(self._cpu.copy().values())
        before, self._taken = self._taken, cpu
        return Node(seconds, cpu - before, highest)


def measure(config: Path, output: Path) -> dict[str, Node]:
    """Runs a config into an empty folder; returns what each node took, and all of them, as `all`.

    Raises:
        SystemExit: The run failed.
    """
    recommender = str(Path(sys.executable).with_name("recommender"))
    command = [recommender, "run", "--config", str(config), "--set", f"output={output}"]
    command += ["--set", f"serving.base_path={output / 'models'}"]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    watch = Watch(process.pid)
    watch.start()
    found: dict[str, Node] = {}
    for line in process.stdout:
        print(f"  {line}", end="", flush=True)
        node = _NODE.match(line)
        if node:
            found[node[1]] = watch.take(float(node[2]))
    if process.wait() not in (0, 3):  # a model that is no better than popular items is no failure here
        sys.exit(f"{config}: exit code {process.returncode}")
    rest = watch.take(0)
    nodes = [*found.values(), rest]
    found["all"] = Node(
        time.monotonic() - started, sum(node.cpu_seconds for node in nodes), max(node.mebibytes for node in nodes)
    )
    return {name: node for name, node in found.items() if node.seconds >= _SHOWN}


def _seconds(node: Node) -> float:
    return node.seconds


def _cpu_seconds(node: Node) -> float:
    return node.cpu_seconds


def slope(sizes: list[int], values: list[float]) -> float:
    """Of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if len(sizes) > 1 else float("nan")


def table(found: dict[int, dict[str, Node]]) -> str:
    """Markdown: a row a node, with its time and memory at each size and both slopes."""
    sizes = sorted(found)
    lines = [
        "| node | " + " | ".join(f"{size:,} events" for size in sizes) + " | slope of time, CPU time |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for name in found[sizes[-1]]:
        nodes = [found[size][name] for size in sizes if name in found[size]]
        cells = " | ".join(
            f"{node.seconds:,.0f} s, {node.cpu_seconds:,.0f} s CPU, {node.mebibytes / 1024:.1f} GiB" for node in nodes
        )
        slopes = [slope(sizes[-len(nodes) :], [value(node) for node in nodes]) for value in (_seconds, _cpu_seconds)]
        lines.append(f"| {name} | {'- | ' * (len(sizes) - len(nodes))}{cells} | {slopes[0]:.2f}, {slopes[1]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Reads the command line, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="where the logs are kept for the next time")
    parser.add_argument("--json", type=Path, default=Path("output/scale_benchmark.json"))
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    found: dict[int, dict[str, Node]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in sorted(options.events):
            log = (options.folder or Path(folder)) / str(count)
            config = log / "config.yaml"
            if not config.exists():
                synthetic.write(log, count, count // 10, count // 10)
            print(f"{count:,} events", flush=True)
            with tempfile.TemporaryDirectory() as output:
                found[count] = measure(config, Path(output))
            print(f"\n{table(found)}\n", flush=True)
            if len(found) > 1:
                last = {size: found[size] for size in sorted(found)[-2:]}
                print(f"the last step alone:\n\n{table(last)}\n", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    nodes = {str(count): {name: asdict(node) for name, node in of.items()} for count, of in found.items()}
    options.json.write_text(json.dumps(nodes, indent=1))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; {options.json}")


if __name__ == "__main__":
    main()
