"""A batch that is shared among replicas comes to what it comes to on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.towers import Noise
from pipeline.model.workers.distributed import Share, is_chief, meet, share, shared, without_repeats
from tests.pipeline.model.workers.two_replicas import CASES

ROOT = Path(__file__).parents[4]

TWO_DEVICES = """
import json
import tensorflow as tf
from pipeline.model.workers.distributed import add_up
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def replica():
    first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
    values = tf.where(first, [1.0, 2.0], [3.0, 0.0])[: tf.where(first, 2, 1)]
    with tf.GradientTape() as tape:
        tape.watch(values)
        gathered = add_up(values, tf.where(first, 0, 2), tf.constant(3))
        loss = tf.where(first, tf.reduce_sum(gathered**2), tf.reduce_sum(2 * gathered))
    return gathered, tape.gradient(loss, values)

for result in tf.function(lambda: strategy.run(replica))():
    print(json.dumps([value.numpy().tolist() for value in strategy.experimental_local_results(result)]))
"""


def run(*arguments: str, timeout: float = 800) -> list[Any]:
    """Runs Python in the checkout, and returns the lines of JSON that it prints."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_gradients_reach_the_replica_that_a_row_comes_from() -> None:
    gathered, gradients = run("-c", TWO_DEVICES)
    assert gathered == [[1, 2, 3]] * 2
    # One replica's loss is the sum of the squares, the other's twice the sum: together 2 g + 2.
    assert gradients == [[4, 6], [8]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 5), st.integers(1, 4))
def test_shares_and_blocks_are_a_partition(batch: int, drawn: int, count: int) -> None:
    columns = {"item": tf.range(100, 100 + batch), "history": tf.reshape(tf.range(batch * 2), [batch, 2])}
    whole = np.concatenate([columns["item"].numpy(), np.arange(drawn)])
    rows, ends = [], [0]
    for index in range(count):
        inputs = share(columns, index, count)
        own = Share.of(inputs)
        assert own is not None
        assert int(own.batch) == batch
        assert inputs["item"].numpy().tolist() == own.own(columns["item"]).numpy().tolist()
        assert inputs["history"].numpy().tolist() == columns["history"].numpy()[index::count].tolist()
        rows += inputs["item"].numpy().tolist()
        order, first, end = own.blocks(batch, drawn)
        # A replica's block begins where the one before ends, and with its own items: the true ones of its queries.
        assert int(first) == ends[-1]
        ends.append(int(end))
        block = whole[order.numpy()][int(first) : int(end)].tolist()
        assert block[: len(inputs["item"])] == inputs["item"].numpy().tolist()
    assert sorted(rows) == columns["item"].numpy().tolist()
    assert ends[-1] == batch + drawn
    assert sorted(order.numpy().tolist()) == list(range(batch + drawn))


def test_equal_rows_of_a_gradient_are_added_up() -> None:
    rows = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([7, 3, 7]), tf.constant([9, 1]))
    found = without_repeats(rows)
    assert found.indices.numpy().tolist() == [7, 3]
    assert found.values.numpy().tolist() == [[5.0], [2.0]]
    assert found.dense_shape.numpy().tolist() == [9, 1]
    dense = tf.ones([2])
    assert without_repeats(dense) is dense


def test_noise_is_that_of_the_whole_batch() -> None:
    seed = tf.constant([1, 2], tf.int64)
    whole = Noise(seed).dropped([7, 3], 0.5, 0).numpy()
    for index in range(3):
        own = Share.of(share({"item": tf.range(7)}, index, 3))
        part = Noise(seed, own).dropped(tf.constant([len(whole[index::3]), 3]), 0.5, 0).numpy()
        assert part.tolist() == whole[index::3].tolist()


def test_a_whole_batch_is_no_share() -> None:
    strategy = tf.distribute.get_strategy()
    batches = tf.data.Dataset.range(3)
    assert Share.of({"item": tf.range(3)}) is None
    assert shared(batches, strategy) == {"x": batches}
    assert is_chief(strategy)
    assert meet(strategy, "any word")


@pytest.mark.slow
def test_two_replicas_train_as_one_does() -> None:
    found = run("-m", "tests.pipeline.model.workers.two_replicas", *CASES)
    assert [result.pop("case") for result in found] == list(CASES)
    for case, result in zip(CASES, found):
        # Attention has gradients near nothing, whose rounding Adam blows up.
        weights = 1e-4 if case == "attention" else 1e-5
        assert result.pop("weights") < weights, case
        assert result.pop("steps") == 0, case
        assert max(result.values()) < 2e-6, case
