"""Measures what is served: asks a model server every query of the evaluation and compares with the Evaluator's figures.

The Evaluator asks the SavedModel in its own process; this asks it as users do, over gRPC. Both must find the same.

    python -m benchmarks.served_metrics --config configs/movielens_100k.yaml

Serves what the last run of the config judged, on free ports. Exits with 1 if a metric differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tfx.utils import path_utils

from benchmarks.lineage import Lineage
from components.evaluation_report import CANDIDATE, COUNT, OVERALL, Report, load_report
from components.evaluator.answers import QUERY_FEATURES
from components.evaluator.servable import context_features
from components.examples import reading
from components.examples.context import read_contexts
from components.metrics import METRICS
from components.metrics.ranks import label_ranks
from pipeline.config import load_config
from serving.client.client import Query, RecommenderClient
from serving.server.process import ServerProcess

TOLERANCE = 1e-6


def served_ranks(client: RecommenderClient, interactions: str, report: Report, context: reading.Features) -> np.ndarray:
    """Asks every query, in the Evaluator's batches, and returns the ranks [N] of the items that followed.

    Args:
        client: asks the model server.
        interactions: URI of the Examples with the queries.
        report: what the Evaluator found.
        context: the features of a query that the model takes (`components.evaluator.servable.context_features`).
    """
    depth = report.depths[CANDIDATE]
    features = {**QUERY_FEATURES, **context}
    ranks = []
    for file in reading.split_files(interactions, "eval"):
        for batch in reading.read_file(file, features, report.batch_size):
            known = reading.scalars(batch, "user_type") == b"known"
            users = [user.decode() for user in np.where(known, reading.scalars(batch, "user_id"), b"")]
            histories = _lists(batch, "history")
            seen = _lists(batch, "seen")
            contexts = read_contexts(batch, context)
            answers = client.recommend_batch(map(Query, users, histories, seen, contexts), k=depth)
            item_ids = np.full((len(users), depth), "", dtype=object)
            for row, answer in enumerate(answers):
                item_ids[row, : len(answer)] = [item.item_id for item in answer]
            labels = np.array([label.decode() for label in reading.scalars(batch, "item_id")], dtype=object)
            ranks.append(label_ranks(item_ids, labels))
    return np.concatenate(ranks)


@contextlib.contextmanager
def served_alone(servable: str, name: str) -> Iterator[str]:
    """Lends a base path with one version, which is a servable that was judged: what is pushed has seen the queries."""
    with tempfile.TemporaryDirectory() as base:
        version = Path(base, name, "1")
        version.parent.mkdir()
        version.symlink_to(os.path.abspath(servable))
        yield base


def served_metrics(ranks: np.ndarray, report: Report) -> dict[str, float]:
    """Returns the ranking metrics of the report, computed from the ranks [N] of the served answers."""
    depth = report.depths[CANDIDATE]
    metrics = {}
    for name in report.metrics[CANDIDATE][OVERALL]:
        kind, _, k = name.partition("@")
        if kind in METRICS and METRICS[kind].of == "rank":
            metrics[name] = float(METRICS[kind].compute(ranks, min(int(k or depth), depth)).mean())
    return metrics


def _lists(batch: reading.Columns, name: str) -> list[list[str]]:
    values, offsets = reading.ragged(batch, name)
    return [[value.decode() for value in values[start:stop]] for start, stop in zip(offsets, offsets[1:])]


def main() -> int:
    """Prints both tables side by side; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/movielens_100k.yaml", help="config of a pipeline that has pushed")
    config = load_config(parser.parse_args().config)

    lineage = Lineage(config)
    execution = lineage.newest("Evaluator")
    judged = lineage.inputs(execution)
    servable = path_utils.serving_model_path(judged["model"].uri)
    report = load_report(lineage.outputs(execution)["evaluation"].uri)
    if report.exclude != "all":
        raise SystemExit("the model of the newest evaluation doesn't leave out all that users had (serving.exclude)")
    with (
        served_alone(servable, config.name) as base,
        ServerProcess(base, config.name) as server,
        RecommenderClient(server.grpc_target, model=config.name, timeout=60) as client,
    ):
        started = time.monotonic()
        ranks = served_ranks(client, judged["examples"].uri, report, context_features(servable))
        seconds = time.monotonic() - started

    expected = report.metrics[CANDIDATE][OVERALL]
    served = served_metrics(ranks, report)
    print(f"{servable}: {len(ranks)} queries over gRPC in {seconds:.1f} s, {report.batch_size} a request")
    print(f"{'metric':<14}{'evaluated':>12}{'served':>12}{'difference':>12}")
    for name, value in served.items():
        difference = abs(value - expected[name])
        print(f"{name:<14}{expected[name]:>12.6f}{value:>12.6f}{difference:>12.1e}")
    largest = max(abs(value - expected[name]) for name, value in served.items())
    agrees = largest <= TOLERANCE and len(ranks) == expected[COUNT]
    print(f"largest difference {largest:.1e}: {'equal' if agrees else 'NOT equal'} to {TOLERANCE:.0e}")
    return 0 if agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())
