"""What `export.compact` saves and costs: the servable's bytes, its archive's, and a request's time, by precision.

    python -m benchmarks.compact [--items 57198 --users 130888 --dim 32 --stored 8]

The weights are random, which compresses worse than trained ones, and the users have embeddings of their own too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.saving import save_servable
from components.indexer.settings import Compact, IndexerSettings
from pipeline.local.archive import pack

MAX_HISTORY = 50


def write_towers(directory: Path, dim: int) -> None:
    """Writes towers whose query is the mean of the history and the user."""

    class QueryPart(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, dim]),
                tf.TensorSpec([None, None], tf.bool),
                tf.TensorSpec([None, dim]),
                tf.TensorSpec([None, None], tf.string),
            ],
            autograph=False,
        )
        def combine(self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
            del context
            weight = tf.cast(known, tf.float32)[:, :, tf.newaxis]
            return user + tf.math.divide_no_nan(tf.reduce_sum(items * weight, axis=1), tf.reduce_sum(weight, axis=1))

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, dim]),
                tf.TensorSpec([None, None], tf.bool),
                tf.TensorSpec([None, dim]),
                tf.TensorSpec([None, None], tf.string),
                tf.TensorSpec([None, None, dim]),
            ],
            autograph=False,
        )
        def explain(
            self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, context: tf.Tensor, candidates: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            del context
            weight = tf.cast(known, tf.float32)
            share = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=1, keepdims=True))
            return {
                "contributions": tf.matmul(candidates, items, transpose_b=True) * share[:, tf.newaxis],
                "parts": tf.matmul(candidates, user[:, tf.newaxis], transpose_b=True),
                "part_names": tf.constant(["user_id"]),
                "method": tf.constant("exact"),
            }

    towers = tf.Module()
    towers.query_part = QueryPart()
    towers.unused = tf.Variable(0.0)
    tf.saved_model.save(towers, str(directory))
    (directory / "assets.extra").mkdir()
    manifest = f'{{"context": [], "user_features": [], "max_history": {MAX_HISTORY}}}'
    (directory / "assets.extra" / "towers.json").write_text(manifest)


def make_index(items: int, users: int, dim: int, stored: int) -> Index:
    """Returns an index of random vectors."""
    chance = np.random.default_rng(0)
    titles = np.array([f"{chance.bytes(9).hex()} of {row:06}".encode() for row in range(items)], object)

    def vectors(count: int) -> np.ndarray:
        return chance.normal(size=(count, dim)).astype(np.float32)

    return Index(
        item_ids=titles,
        display=titles,
        embedding=vectors(items),
        bias=chance.normal(size=items).astype(np.float32),
        popularity=chance.integers(0, 5_000, items).astype(np.float32),
        history_embedding=vectors(items),
        history_known=np.ones(items, bool),
        user_ids=np.array([str(row).encode() for row in range(users)], object),
        user_embedding=vectors(users),
        user_context=np.full(users, b"", object),
        history_values=chance.integers(0, items, users * stored).astype(np.int32),
        history_splits=np.arange(users + 1, dtype=np.int64) * stored,
    )


def milliseconds(servable: Path, batch: int, requests: int) -> float:
    """Returns the median time of a request of `batch` users, k = 10."""
    loaded = tf.saved_model.load(str(servable))
    ask = loaded.signatures["recommend"]
    none, k = tf.fill([batch, 0], ""), tf.constant(10)
    times = []
    for number in range(requests + 3):
        users = tf.constant([str(number * batch + row) for row in range(batch)])
        started = time.perf_counter()
        ask(user_id=users, history=none, exclude=none, k=k)
        times.append(time.perf_counter() - started)
    return 1_000 * float(np.median(times[3:]))


def main() -> None:
    """Measures each precision and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("items", 57_198), ("users", 130_888), ("dim", 32), ("stored", 8), ("requests", 30)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    index = make_index(options.items, options.users, options.dim, options.stored)
    print(f"{options.items:,} items x {options.dim}, {options.users:,} users with {options.stored} stored items each")
    print("| `export.compact` | servable, MiB | archive, MiB | one user, ms | 32 users, ms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_towers(Path(folder, "towers"), options.dim)
        for compact in get_args(Compact):
            path = Path(folder, compact)
            save_servable(str(Path(folder, "towers")), index, IndexerSettings(compact=compact), "compact", str(path))
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            pack(path, "compact/1", Path(folder, "model.tar.gz"))
            packed = Path(folder, "model.tar.gz").stat().st_size
            times = [milliseconds(path, batch, options.requests) for batch in (1, 32)]
            figures = [size / 2**20, packed / 2**20, *times]
            print(f"| {compact} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
