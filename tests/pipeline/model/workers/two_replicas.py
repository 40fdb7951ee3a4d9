"""Compares two replicas on two logical CPUs with one: run as a script, since devices are made once in a process.

Prints lines of JSON: what `add_up` gives each replica and the gradients there; for each case that the arguments name,
the largest differences of losses, gradients and weights.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.model.fit import train
from pipeline.model.inputs import TrainingData
from pipeline.model.reading import Events, Log
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.towers import ItemFeatures, SideFeature, TwoTowerModel, Vocabulary
from pipeline.model.workers import distributed

ITEMS, USERS, EVENTS = 11, 5, 37
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "in_batch": ({}, {}),
    "lazy_adam": ({}, {"optimizer": "lazy_adam"}),
    "mixed": ({"shared_item_table": True}, {"loss": "mixed", "uniform_negatives": 7, "optimizer": "lazy_adam"}),
    "hard": ({"normalize": True}, {"hard_negatives": 3}),
    "full": ({"query_layers": [8], "candidate_layers": [8]}, {"loss": "full", "optimizer": "adagrad"}),
    "attention": ({"history": "attention"}, {"log_q": False}),
}


def make_data() -> TrainingData:
    """Events of 11 items and 5 users, with features of both; weights differ."""
    rng = np.random.default_rng(0)
    inputs = {
        "history": rng.integers(0, ITEMS + 2, (EVENTS, 4)).astype(np.int32),
        "user": rng.integers(1, USERS + 2, EVENTS).astype(np.int32),
        "query_age": rng.normal(size=EVENTS).astype(np.float32),
    }
    items = rng.integers(2, ITEMS + 2, EVENTS).astype(np.int32)
    weight = rng.uniform(0.5, 2, EVENTS).astype(np.float32)
    row = np.arange(EVENTS)
    events = Events(row, inputs["user"].astype(np.int64), items, weight, row, inputs)
    genres = rng.integers(0, 5, (ITEMS, 2)).astype(np.int32)
    vocabulary = Vocabulary(
        np.bincount(items - 2, minlength=ITEMS),
        ItemFeatures({"genres": genres}),
        (SideFeature("genres", False, 3),),
        (SideFeature("age", True),),
        USERS,
        4,
    )
    return TrainingData(Log.of(events), vocabulary, "latest")


def gradients(model: TwoTowerModel, batch: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The loss of a batch, or of a share of it, and its dense gradients."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    return loss, [
        tf.convert_to_tensor(tf.zeros_like(v) if g is None else g)
        for g, v in zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    ]


def difference(one: Any, two: Any) -> float:
    """The largest difference of arrays, as a share of the greatest value."""
    scale = max(float(np.abs(a).max()) for a in one)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(one, two)) / scale


def compare(case: str, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Trains on one replica and on two, and takes the gradients of a batch of 8 events, and of one event, on both."""
    model_changes, changes = CASES[case]
    model_settings = ModelSettings(dim=8, user_id=True, query_features=("age",), **model_changes)
    # 33 events to train on: the last batch of a pass has one, and the second replica's share of that is nothing.
    settings = TrainingSettings(batch_size=8, epochs=2, patience=9, refit=False, **changes)
    data = make_data()
    trained = [
        train(data, model_settings, settings, 3, tempfile.mkdtemp(), None, each)
        for each in (tf.distribute.get_strategy(), strategy)
    ]
    one, two = (each.model for each in trained)
    losses = [np.array([epoch["loss"] for epoch in each.history]) for each in trained]
    weights = [[weight.numpy() for weight in model.trainable_weights] for model in (one, two)]
    differences = {
        "losses": difference(losses[:1], losses[1:]),
        "weights": difference(*weights),
        "steps": float(abs(two.step.numpy() - one.step.numpy())),
    }
    for weight, value in zip(two.trainable_weights, weights[0]):
        weight.assign(value)

    def of_replica(batch: Any) -> Any:
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        return gradients(two, distributed.share(batch, index, 2))

    columns = data.events.parts[0]().columns()
    signature = [{name: tf.TensorSpec([None, *column.shape[1:]], column.dtype) for name, column in columns.items()}]
    expect = tf.function(lambda batch: gradients(one, batch), signature, autograph=False)
    find = tf.function(lambda batch: strategy.run(of_replica, args=(batch,)), signature, autograph=False)
    for size in (8, 1):
        batch = {name: tf.constant(column[:size]) for name, column in columns.items()}
        loss, expected = expect(batch)
        added = tf.nest.map_structure(lambda v: sum(strategy.experimental_local_results(v)), find(batch))
        differences[f"loss of {size}"] = abs(float(loss) - float(added[0]))
        differences[f"gradients of {size}"] = difference(expected, added[1])
    return differences


def adding_up(strategy: tf.distribute.Strategy) -> list[list[Any]]:
    """The rows 1, 2 of one replica and 3 of the other, added up; and the gradients of one's sum of their squares and
    the other's twice the sum."""

    def of_replica() -> tuple[tf.Tensor, tf.Tensor]:
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        values = tf.where(first, [1.0, 2.0], [3.0, 0.0])[: tf.where(first, 2, 1)]
        with tf.GradientTape() as tape:
            tape.watch(values)
            gathered = distributed.add_up(values, tf.where(first, 0, 2), tf.constant(3))
            loss = tf.where(first, tf.reduce_sum(gathered**2), tf.reduce_sum(2 * gathered))
        return gathered, tape.gradient(loss, values)

    results = tf.function(lambda: strategy.run(of_replica), autograph=False)()
    return [[value.numpy().tolist() for value in strategy.experimental_local_results(result)] for result in results]


def main() -> None:
    """Prints it all."""
    logging.disable()  # how many all-reduces there are
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps(adding_up(strategy)), flush=True)
    for case in sys.argv[1:]:
        print(json.dumps({"case": case, **compare(case, strategy)}), flush=True)


if __name__ == "__main__":
    main()
