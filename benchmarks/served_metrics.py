"""Measures what is served: asks a model server every query of the evaluation and compares with the Evaluator's figures.

The Evaluator asks the SavedModel in its own process; this asks it as users do, over gRPC. Both must find the same.

    python -m benchmarks.served_metrics --examples URI --evaluation URI --target localhost:8500 --model NAME

`--examples` is the Interactions artifact and `--evaluation` the ModelEvaluation artifact of the run that pushed what
the server serves. Exits with 1 if a metric differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from components import examples
from components.evaluator.metrics import hit_rate, mrr, ndcg
from components.evaluator.metrics.ranks import label_ranks
from components.evaluator.report import CANDIDATE, COUNT, OVERALL, Report, load_report
from serving.client.client import Query, RecommenderClient

TOLERANCE = 1e-6
_GAINS = {"hit_rate": hit_rate.hit_rate, "ndcg": ndcg.ndcg, "mrr": mrr.reciprocal_rank}


def served_ranks(client: RecommenderClient, interactions: str, report: Report) -> np.ndarray:
    """Asks every query, in the Evaluator's batches, and returns the ranks [N] of the items that followed."""
    depth = report.depths[CANDIDATE]
    features = {"user_id": bytes, "item_id": bytes, "history": bytes, "seen": bytes}
    ranks = []
    for file in examples.split_files(interactions, "eval"):
        for batch in examples.read_file(file, features, report.batch_size):
            users = [user.decode() for user in examples.scalars(batch, "user_id")]
            histories = _lists(batch, "history")
            seen = _lists(batch, "seen") if report.exclude_seen else [[]] * len(users)
            answers = client.recommend_batch(map(Query, users, histories, seen), k=depth)
            item_ids = np.full((len(users), depth), "", dtype=object)
            for row, answer in enumerate(answers):
                item_ids[row, : len(answer)] = [item.item_id for item in answer]
            labels = np.array([label.decode() for label in examples.scalars(batch, "item_id")], dtype=object)
            ranks.append(label_ranks(item_ids, labels))
    return np.concatenate(ranks)


def served_metrics(ranks: np.ndarray, report: Report) -> dict[str, float]:
    """Returns the metrics of the report, computed from the ranks [N] of the served answers."""
    depth = report.depths[CANDIDATE]
    metrics = {}
    for name in report.metrics[CANDIDATE][OVERALL]:
        if name != COUNT:
            kind, _, k = name.partition("@")
            metrics[name] = float(_GAINS[kind](ranks, min(int(k or depth), depth)).mean())
    return metrics


def _lists(batch: examples.Columns, name: str) -> list[list[str]]:
    values, offsets = examples.ragged(batch, name)
    return [[value.decode() for value in values[start:stop]] for start, stop in zip(offsets, offsets[1:])]


def main() -> int:
    """Prints both tables side by side; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", required=True, help="URI of the interactions")
    parser.add_argument("--evaluation", required=True, help="URI of the evaluation")
    parser.add_argument("--target", required=True, help="host:port of the model server's gRPC interface")
    parser.add_argument("--model", required=True, help="name of the model")
    arguments = parser.parse_args()

    report = load_report(arguments.evaluation)
    started = time.monotonic()
    with RecommenderClient(arguments.target, model=arguments.model, timeout=60) as client:
        ranks = served_ranks(client, arguments.examples, report)
    seconds = time.monotonic() - started

    evaluated = report.metrics[CANDIDATE][OVERALL]
    served = served_metrics(ranks, report)
    print(
        f"{len(ranks)} queries in {seconds:.1f} s ({len(ranks) / seconds:.0f} a second, {report.batch_size} a request)"
    )
    print(f"{'metric':<14}{'evaluated':>12}{'served':>12}{'difference':>12}")
    for name, value in served.items():
        print(f"{name:<14}{evaluated[name]:>12.6f}{value:>12.6f}{abs(value - evaluated[name]):>12.1e}")
    largest = max(abs(value - evaluated[name]) for name, value in served.items())
    agrees = largest <= TOLERANCE and len(ranks) == evaluated[COUNT]
    print(f"largest difference {largest:.1e}: {'equal' if agrees else 'NOT equal'} to {TOLERANCE:.0e}")
    return 0 if agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())
