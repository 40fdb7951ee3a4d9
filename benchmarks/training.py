"""Our training against the training loop of TFRS's tutorial, on the same events, in alternation.

    python -m benchmarks.training --config configs/movielens_100k.yaml

Trains on what the last run of the config made, and with its settings: run that first. The tutorial's loop is
"Recommending movies: retrieval" of the TFRS documentation as it stands: two towers of a StringLookup and an Embedding
of 32, in-batch softmax in batches of 8,192, Adagrad at 0.1, 3 passes, the top-k metrics also in the training steps.
Those metrics cost much of its time, so it is timed without them too. Each training is a process of its own, with a seed
of its own; the table has medians.

Events per second are those of the training passes: all of them, tracing in the first one included, and "steady" those
after the first. "in all" are the seconds of the whole: for ours that is reading the data, validation after each pass,
the second training on all events and the export. hit@10 is that of the trained towers on the test queries, among all
items of the catalogue that the user has not had; the Evaluator's differs where a query has no history, as the servable
then gives the popular items.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.interaction_gen import peak_megabytes
from pipeline.config import Config

TUTORIAL, WITHOUT_METRICS, OURS = SIDES = ("tutorial", "tutorial without metrics", "ours")
_COLUMNS = {
    "events/s": "{:,.0f}",
    "events/s, steady": "{:,.0f}",
    "passes": "{:.0f}",
    "in all, s": "{:.1f}",
    "peak, MB": "{:,.0f}",
    "hit@10": "{:.4f}",
}


def main() -> None:
    """Runs the benchmark and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/movielens_100k.yaml", help="config of a pipeline that has run")
    parser.add_argument("--output", help="its output folder, if that is not the config's")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    parser.add_argument("--only", choices=SIDES, help="run only this side")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "SEED", "INPUTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # For this process and its children, before TensorFlow is imported.
    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")
    if arguments.child:
        side, seed, inputs = arguments.child
        print(json.dumps(measure(side, int(seed), json.loads(inputs))))
        return
    from pipeline.config import load_config

    config = load_config(arguments.config, (f"output={arguments.output}",) if arguments.output else ())
    compare(
        newest_training(config),
        arguments.runs,
        [arguments.only] if arguments.only else list(SIDES),
    )


def compare(inputs: dict[str, Any], runs: int, sides: list[str]) -> None:
    """Runs the sides in alternation and prints the medians."""
    results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for run in range(runs):
        for side in sides:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training"]
            command += ["--child", side, str(run), json.dumps(inputs)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
            results[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"run {run + 1}  {side:24} {_row(results[side][-1])}", flush=True)
    median = {
        side: {name: statistics.median(result[name] for result in results[side]) for name in _COLUMNS} for side in sides
    }
    print(f"\n| median of {runs} | {' | '.join(_COLUMNS)} |\n|---{'|---:' * len(_COLUMNS)}|")
    for side in sides:
        print(f"| {side} | {_row(median[side])} |")
    for side in sides:
        if OURS in sides and side != OURS:
            ratios = (median[OURS][name] / median[side][name] for name in ("events/s", "events/s, steady"))
            print("\nours against the {}: {:.1f} times the events per second, {:.1f} steady".format(side, *ratios))
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow", "tensorflow-recommenders"))
    print(f"\nPython {platform.python_version()}, {packages}; {os.cpu_count()} cores, {platform.platform()}")


def _row(result: dict[str, float]) -> str:
    return " | ".join(form.format(result[name]) for name, form in _COLUMNS.items())


def newest_training(config: Config) -> dict[str, Any]:
    """Follows the newest training in the pipeline's metadata back to what it was made from.

    Returns:
        URIs of the Trainer's inputs by key, of the `interactions` and the `items` behind them, and its `custom_config`.
    """
    from benchmarks.lineage import Lineage

    lineage = Lineage(config)
    trainer = lineage.newest("Trainer")
    inputs = lineage.inputs(trainer)

    def source(name: str) -> str:
        return lineage.inputs(lineage.maker(inputs[name]))["examples"].uri

    return {
        **{name: artifact.uri for name, artifact in inputs.items()},
        "interactions": source("examples"),
        "items": source("catalogue"),
        "custom_config": json.loads(trainer.custom_properties["custom_config"].string_value),
    }


def measure(side: str, seed: int, inputs: dict[str, Any]) -> dict[str, float]:
    """Trains one side in this process; returns the table's figures."""
    events, seconds, in_all, score, items = ours(seed, inputs) if side == OURS else tutorial(side, seed, inputs)
    later = seconds[1:] or seconds
    return {
        "events/s": events * len(seconds) / sum(seconds),
        "events/s, steady": events * len(later) / sum(later),
        "passes": len(seconds),
        "in all, s": in_all,
        "peak, MB": peak_megabytes(),
        "hit@10": hit_rate_at_10(score, items, inputs["interactions"]),
    }


def tutorial(side: str, seed: int, inputs: dict[str, Any]) -> tuple[int, list[float], float, Any, np.ndarray]:
    """Runs the tutorial's loop; returns what `ours` does."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs
    import tf_keras as keras

    from components.examples.reading import read_columns, scalars

    keras.utils.set_random_seed(seed)
    log = read_columns(inputs["interactions"], "train", {"user_id": bytes, "item_id": bytes})
    columns = {name: scalars(log, name).astype(bytes) for name in ("user_id", "item_id")}
    items = scalars(read_columns(inputs["items"], "catalogue", {"item_id": bytes}), "item_id").astype(bytes)

    def tower(ids: np.ndarray) -> keras.Model:
        vocabulary = np.unique(ids)
        lookup = keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None)
        return keras.Sequential([lookup, keras.layers.Embedding(len(vocabulary) + 1, 32)])

    class Model(tfrs.Model):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = tower(columns["user_id"]), tower(items)
            candidates = tf.data.Dataset.from_tensor_slices(items).batch(128).map(self.items)
            self.task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates))

        def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
            users, items = self.users(features["user_id"]), self.items(features["item_id"])
            return self.task(users, items, compute_metrics=side == TUTORIAL or not training)

    begun: list[float] = []
    seconds: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: begun.append(time.perf_counter()),
        on_epoch_end=lambda *_: seconds.append(time.perf_counter() - begun[-1]),
    )
    started = time.perf_counter()
    model = Model()
    model.compile(optimizer=keras.optimizers.Adagrad(learning_rate=0.1))
    train = tf.data.Dataset.from_tensor_slices(columns).shuffle(100_000, seed=seed).batch(8192).cache()
    model.fit(train, epochs=3, verbose=0, callbacks=[clock])
    in_all = time.perf_counter() - started

    embedding = model.items(tf.constant(items)).numpy()

    def score(records: list[bytes], batch: Any) -> np.ndarray:
        return model.users(tf.constant(scalars(batch, "user_id"))).numpy() @ embedding.T

    return len(log), seconds, in_all, score, items


def ours(
    seed: int, inputs: dict[str, Any], passes: list[dict[str, float]] | None = None
) -> tuple[int, list[float], float, Any, np.ndarray]:
    """Trains as the Trainer does.

    Args:
        seed: Its seed.
        inputs: As `newest_training` gives them.
        passes: If given, gets what each pass came to.

    Returns:
        The events of a pass, the seconds of each pass, the seconds of all, a function that scores queries for
        `hit_rate_at_10`, and the ids [N] of the items.
    """
    import tensorflow as tf

    from components.examples.reading import padded, scalars
    from components.trainer.report import TRAINING_REPORT
    from pipeline.model.inputs import read_data
    from pipeline.model.job import Job, Transformed
    from pipeline.model.settings import TrainerSettings
    from pipeline.model.trainer import run
    from pipeline.model.validation import held_out

    # Without its checkpoints, from which the training would go on.
    settings = TrainerSettings.model_validate({**inputs["custom_config"], "seed": seed, "checkpoints": ""})
    transformed = Transformed(**{name: inputs[name] for name in Transformed.model_fields})
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run(
            Job(
                inputs=transformed,
                settings=settings,
                model_run_dir=os.path.join(folder, "run"),
                serving_model_dir=os.path.join(folder, "model"),
            )
        )
        in_all = time.perf_counter() - started
        with open(os.path.join(folder, "run", TRAINING_REPORT), encoding="utf-8") as file:
            epochs = json.load(file)["epochs"]
            seconds = [epoch["seconds"] for epoch in epochs]
            if passes is not None:
                passes += epochs
        towers = tf.saved_model.load(os.path.join(folder, "model")).signatures
    data = read_data(transformed, settings)
    [log] = [part() for part in data.events.parts]
    events = len(log) - len(held_out(log, data.hold_out, settings.training))
    candidates = towers["candidate"](examples=tf.constant(_records(inputs["items"], "catalogue")))
    embedding, bias = candidates["embedding"].numpy(), candidates["bias"].numpy()

    def score(records: list[bytes], batch: Any) -> np.ndarray:
        query = towers["query"](
            user_id=tf.constant(scalars(batch, "user_id")),
            history=tf.constant(padded(batch, "history"), tf.string),
            # A query's own Example holds the features that are known of it, by the names that the towers look for.
            context=tf.constant(records)[:, tf.newaxis],
        )
        return query["embedding"].numpy() @ embedding.T + bias

    return events, seconds, in_all, score, candidates["item_id"].numpy()


def hit_rate_at_10(score: Callable[[list[bytes], Any], np.ndarray], items: np.ndarray, interactions: str) -> float:
    """The share of test queries whose item is among the 10 best that the user has not had.

    Args:
        score: Gives the scores [B, N] of all items for B queries, given as records and as columns.
        items: [N] ids of the items.
        interactions: URI of the events.
    """
    from components.examples.reading import decode, ragged, scalars

    row_of = {item: row for row, item in enumerate(items.tolist())}
    records = _records(interactions, "eval")
    hits = 0
    for start in range(0, len(records), 1024):
        chunk = records[start : start + 1024]
        batch = decode(chunk, {"user_id": bytes, "item_id": bytes, "history": bytes, "seen": bytes})
        scores = np.array(score(chunk, batch))
        label = np.array([row_of[item] for item in scalars(batch, "item_id")])
        seen, offsets = ragged(batch, "seen")
        query = np.repeat(np.arange(len(chunk)), np.diff(offsets))
        scores[query, [row_of[item] for item in seen]] = -np.inf
        true = scores[np.arange(len(chunk)), label][:, np.newaxis]
        # Equal scores: the item that stands first in the catalogue is the better one.
        before = np.arange(len(items)) < label[:, np.newaxis]
        rank = ((scores > true) | ((scores == true) & before)).sum(axis=1)
        hits += int(np.sum((rank < 10) & np.isfinite(true[:, 0])))
    return hits / len(records)


def _records(examples: str, split: str) -> list[bytes]:
    """The serialized Examples of a split."""
    import tensorflow as tf

    from components.examples.reading import split_files

    return list(tf.data.TFRecordDataset(split_files(examples, split), "GZIP").as_numpy_iterator())


if __name__ == "__main__":
    main()
