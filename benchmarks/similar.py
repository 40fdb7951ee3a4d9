"""How good item-to-item lists are: whether what a user took next is among the k items most similar to the one before.

    recommender run --config configs/movielens_100k.yaml
    python -m benchmarks.similar configs/movielens_100k.yaml

Asks about the newest run of the recipe: its servable's `similar_items` against the cosine of its candidate tower's
embeddings, item-kNN (which finds items by the same users, with the recipe's shrinkage) and popularity. Where a recipe
learns from all other items of a user (`training.histories: others`), each item that the user had before is a query, and
these count as one; else the newest is. The query itself is no answer. All of the catalogue is ranked.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from components.errors import InputError
from pipeline.config import Config, load_config

_K = 10
_BATCH = 512

Lists = Callable[[np.ndarray], np.ndarray]
"""Rows of query items [B] to rows of their k best items [B, k], -1 for none."""


class Queries(NamedTuple):
    """Q pairs of an item that a user had and one that the user took next."""

    item: np.ndarray
    """[Q] int, rows; -1 for an item that the catalogue lacks."""
    label: np.ndarray
    """[Q] int, rows."""
    weight: np.ndarray
    """[Q] float; those of one event add up to 1."""


def read_config() -> Config:
    """The config that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, as in the run")
    arguments = parser.parse_args()
    try:
        return load_config(arguments.config, tuple(arguments.set))
    except InputError as error:
        sys.exit(f"error: {error}")


def main() -> None:
    """Prints the table in Markdown."""
    config = read_config()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from tfx.utils import path_utils

    from benchmarks.lineage import Lineage
    from components.evaluator import baselines
    from components.evaluator.baselines.reading import read_training_events
    from components.examples.reading import ragged, read_columns, scalars
    from components.indexer.towers import embed_catalogue

    lineage = Lineage(config)
    indexer = lineage.newest("Indexer")
    servable_uri = path_utils.serving_model_path(lineage.outputs(indexer)["model"].uri)
    inputs = lineage.inputs(indexer)
    interactions = inputs["interactions"].uri
    towers = path_utils.serving_model_path(inputs["towers"].uri)
    item_ids, _, embedding, _ = embed_catalogue(tf.saved_model.load(towers), inputs["catalogue"].uri)
    row_of = {item: row for row, item in enumerate(item_ids.tolist())}

    every = config.training.histories == "others"
    had = "seen" if every else "history"
    table = read_columns(interactions, "eval", {"item_id": bytes, had: bytes})
    queries = make_queries(*ragged(table, had), scalars(table, "item_id"), row_of, every)

    events = read_training_events(interactions, config.evaluation.baselines)
    known = np.array([row_of[item] for item in events.item_ids.tolist()])
    counts = np.zeros(len(item_ids))
    counts[known] = events.popularity()
    settings = config.evaluation.baselines.model_copy(update={"names": ("popularity", "item_knn")})
    fitted = baselines.fit(settings, events)
    servable = tf.saved_model.load(servable_uri)
    direction = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)

    def cosine(rows: np.ndarray) -> np.ndarray:
        return best(direction[rows] @ direction.T, rows)

    print(f"{queries.weight.sum():,.0f} events, {len(item_ids):,} items\n")
    sides = {
        f"`similar_items` ({config.serving.similar.method})": served(servable, item_ids, row_of),
        "cosine of embeddings": cosine,
        "item-kNN": by_baseline(fitted["item_knn"], known, len(item_ids)),
        "popularity": by_baseline(fitted["popularity"], known, len(item_ids)),
    }
    print_table(sides, queries, counts)


def served(servable: Any, item_ids: np.ndarray, row_of: Mapping[bytes, int]) -> Lists:
    """The way of the signature `similar_items`; rows are those of the item ids [N]."""
    import tensorflow as tf

    def lists(rows: np.ndarray) -> np.ndarray:
        ids = tf.constant(item_ids[rows].tolist())
        answer = servable.signatures["similar_items"](
            item_id=ids, exclude=tf.fill([len(rows), 0], ""), k=tf.constant(_K)
        )
        return np.array([[row_of.get(item, -1) for item in line] for line in answer["item_ids"].numpy().tolist()])

    return lists


def by_baseline(baseline: Any, known: np.ndarray, count: int) -> Lists:
    """The way of a baseline that was asked for the items `known` [M], rows of all `count` items."""
    place = np.full(count, -1)
    place[known] = np.arange(len(known))

    def lists(rows: np.ndarray) -> np.ndarray:
        there = place[rows] >= 0
        scores = baseline.scores((place[rows][there], np.concatenate([[0], np.cumsum(there)])))
        found = best(scores, place[rows])
        return np.where(found >= 0, known[found], -1)

    return lists


def print_table(sides: Mapping[str, Lists], queries: Queries, counts: np.ndarray) -> None:
    """Prints a row for each way to answer; counts [N] are the items' training events."""
    print("| | hit@10 | NDCG@10 | average popularity | coverage |\n| --- | ---: | ---: | ---: | ---: |")
    for name, lists in sides.items():
        hit, ndcg, popularity, coverage = measure(lists, queries, counts)
        print(f"| {name} | {hit:.4f} | {ndcg:.4f} | {popularity:.0f} | {coverage:.3f} |", flush=True)


def make_queries(
    had: np.ndarray, offsets: np.ndarray, label: np.ndarray, row_of: dict[bytes, int], every: bool
) -> Queries:
    """Pairs of what users had and took next.

    Args:
        had: [V] bytes, newest first, and
        offsets: [E + 1] int: event e's user had `had[offsets[e]:offsets[e + 1]]`.
        label: [E] bytes.
        row_of: Rows of the items.
        every: Whether all that the user had is asked about, or only the newest item.
    """
    lengths = np.diff(offsets)
    event = np.repeat(np.arange(len(lengths)), lengths)
    item = np.array([row_of.get(name, -1) for name in had.tolist()], np.int64)
    labels = np.array([row_of.get(name, -1) for name in label.tolist()], np.int64)[event]
    kept = item != labels
    if not every:
        kept &= np.arange(len(had)) == offsets[:-1][event]
    share = np.bincount(event[kept], minlength=len(lengths))
    return Queries(item[kept], labels[kept], 1 / share[event[kept]])


def best(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Columns [B, k] of the best scores [B, N] without each row's own; of equals the earlier, and -1 for none."""
    scores = scores.astype(np.float32)
    scores[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :_K]
    found = np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)
    return np.pad(found, [[0, 0], [0, _K - found.shape[1]]], constant_values=-1)


def measure(lists: Lists, queries: Queries, counts: np.ndarray) -> tuple[float, float, float, float]:
    """Hit rate, NDCG, mean training events of the items listed, and share of the catalogue that is listed at all.

    Args:
        lists: What is measured.
        queries: What it is asked; lists of items that the catalogue lacks are empty.
        counts: [N] training events.
    """
    items = np.unique(queries.item[queries.item >= 0])
    found = np.full((len(counts) + 1, _K), -1)  # the last row is that of -1
    for first in range(0, len(items), _BATCH):
        found[items[first : first + _BATCH]] = lists(items[first : first + _BATCH])
    answer = found[queries.item]
    hits = (answer == queries.label[:, np.newaxis]) & (answer >= 0)
    total = queries.weight.sum()
    gain = hits / np.log2(np.arange(_K) + 2)
    shown = (answer >= 0) * queries.weight[:, np.newaxis]
    return (
        float(queries.weight @ hits.any(axis=1) / total),
        float(queries.weight @ gain.sum(axis=1) / total),
        float((shown * counts[answer]).sum() / shown.sum()),
        len(np.unique(answer[answer >= 0])) / len(counts),
    )


if __name__ == "__main__":
    main()
