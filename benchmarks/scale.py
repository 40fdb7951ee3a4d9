"""The whole pipeline on synthetic logs of growing size: time and memory of each node, and how both grow.

    python -m benchmarks.scale [--events 100_000 1_000_000 10_000_000] [--folder FOLDER]

The logs are those of synthetic.py: no figure from here says anything of real quality. Memory is the resident memory of
all processes of the run together, at its highest while the node ran; what forked processes share counts for each of
them. The slope is that of a line through log(time) against log(events): 1 where time grows as the events do.
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


@dataclass
class Node:
    """What a node took."""

    seconds: float
    mebibytes: float


class Watch(threading.Thread):
    """Follows the memory of a process and all its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._highest = 0.0

    def run(self) -> None:
        """Samples until the process ends."""
        while True:
            try:
                processes = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            total = 0
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
            self._highest = max(self._highest, total / 2**20)
            time.sleep(_EVERY)

    def take(self) -> float:
        """The highest in MiB since the last call."""
        highest, self._highest = self._highest, 0.0
        return highest


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
            found[node[1]] = Node(float(node[2]), watch.take())
    if process.wait() not in (0, 3):  # a model that is no better than popular items is no failure here
        sys.exit(f"{config}: exit code {process.returncode}")
    found["all"] = Node(time.monotonic() - started, max(node.mebibytes for node in found.values()))
    return found


def slope(sizes: list[int], values: list[float]) -> float:
    """Of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if len(sizes) > 1 else float("nan")


def table(found: dict[int, dict[str, Node]]) -> str:
    """Markdown: a row a node, with its time and memory at each size and both slopes."""
    sizes = sorted(found)
    lines = [
        "| node | " + " | ".join(f"{size:,} events" for size in sizes) + " | slope of time, last step |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for name in found[sizes[-1]]:
        nodes = [found[size][name] for size in sizes if name in found[size]]
        last = slope(sizes[-2:], [node.seconds for node in nodes[-2:]])
        cells = " | ".join(f"{node.seconds:,.0f} s, {node.mebibytes / 1024:.1f} GiB" for node in nodes)
        lines.append(f"| {name} | {cells} | {slope(sizes, [n.seconds for n in nodes]):.2f}, {last:.2f} |")
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
    options.json.parent.mkdir(parents=True, exist_ok=True)
    nodes = {str(count): {name: asdict(node) for name, node in of.items()} for count, of in found.items()}
    options.json.write_text(json.dumps(nodes, indent=1))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; {options.json}")


if __name__ == "__main__":
    main()
