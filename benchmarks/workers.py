"""The same training in one process and in several that share each batch: time, memory, and what they come to.

    python -m benchmarks.workers --config configs/movielens_100k.yaml [--workers 2 --passes 4 --seeds 3]

Trains on what the last run of the config made, and with its settings: run that first. All workers are on this machine,
so they share its cores, and talk over the loopback interface: on a few cores several can't be faster than one, and the
difference is what sharing costs. Both sides have the same seeds; what they come to differs by rounding only, which is
to be compared with the spread over the seeds. Each training is a process of its own.

"s a pass" is the median of the passes after the first, which has the tracing. "in all" has the start of the workers,
reading, validation, the second training on all events and the export. The peak is that of the largest process; there
are as many as workers, and one that watches. hit@10 is as in `benchmarks.training`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from typing import Any

_COLUMNS = {
    "s a pass": "{:.2f}",
    "first pass, s": "{:.1f}",
    "in all, s": "{:.1f}",
    "peak, MB": "{:,.0f}",
    "loss": "{:.6f}",
    "validation NDCG@10": "{:.5f}",
    "test hit@10": "{:.5f}",
}
_OUTCOMES = ("loss", "validation NDCG@10", "test hit@10")


def main() -> None:
    """Runs the benchmark and prints tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/movielens_100k.yaml", help="config of a pipeline that has run")
    parser.add_argument("--output", help="its output folder, if that is not the config's")
    parser.add_argument("--workers", type=int, default=2, help="workers of the second side")
    parser.add_argument("--passes", type=int, default=4, help="most passes of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each side")
    parser.add_argument("--child", nargs=3, metavar=("WORKERS", "SEED", "INPUTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # For this process and its children, before TensorFlow is imported.
    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")
    if arguments.child:
        workers, seed, inputs = arguments.child
        print(json.dumps(measure(int(workers), int(seed), json.loads(inputs))))
        return
    from benchmarks.training import newest_training
    from pipeline.config import load_config

    config = load_config(arguments.config, (f"output={arguments.output}",) if arguments.output else ())
    inputs = newest_training(config)
    inputs["custom_config"]["training"]["epochs"] = arguments.passes
    compare(inputs, arguments.workers, arguments.seeds)


def compare(inputs: dict[str, Any], workers: int, seeds: int) -> None:
    """Trains both sides with each seed in alternation and prints what they came to."""
    results: dict[int, list[dict[str, float]]] = {1: [], workers: []}
    print(f"| workers | seed | {' | '.join(_COLUMNS)} |\n|---:|---:{'|---:' * len(_COLUMNS)}|")
    for seed in range(seeds):
        for count, done in results.items():
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.workers"]
            command += ["--child", str(count), str(seed), json.dumps(inputs)]
            child = subprocess.run(command, capture_output=True, text=True, check=False)
            if child.returncode:
                sys.exit(f"{count} workers failed:\n{child.stderr[-3000:]}")
            done.append(json.loads(child.stdout.splitlines()[-1]))
            row = " | ".join(form.format(done[-1][name]) for name, form in _COLUMNS.items())
            print(f"| {count} | {seed} | {row} |", flush=True)
    print("\n| | largest difference for a seed | standard deviation over seeds |\n|---|---:|---:|")
    for name in _OUTCOMES:
        alone, shared = ([result[name] for result in results[count]] for count in (1, workers))
        apart = max(abs(one - other) for one, other in zip(alone, shared))
        spread = f"{statistics.stdev(alone):.6f}" if seeds > 1 else "-"
        print(f"| {name} | {apart:.6f} | {spread} |")
    pace = (statistics.median(result["s a pass"] for result in results[count]) for count in (workers, 1))
    print("\n{} workers on {} cores: {:.2f} s a pass, one {:.2f} s".format(workers, os.cpu_count(), *pace))


def measure(workers: int, seed: int, inputs: dict[str, Any]) -> dict[str, float]:
    """Trains once, in this process or in workers that it starts; returns the table's figures."""
    from benchmarks.training import hit_rate_at_10, ours

    inputs["custom_config"]["training"]["workers"] = workers
    passes: list[dict[str, float]] = []
    _, seconds, in_all, score, items = ours(seed, inputs, passes)
    trainers = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
    memory = resource.getrusage(trainers).ru_maxrss / 1024
    return {
        "s a pass": statistics.median(seconds[1:] or seconds),
        "first pass, s": seconds[0],
        "in all, s": in_all,
        "peak, MB": memory,
        "loss": passes[-1]["loss"],
        "validation NDCG@10": passes[-1]["ndcg@10"],
        "test hit@10": hit_rate_at_10(score, items, inputs["interactions"]),
    }


if __name__ == "__main__":
    main()
