"""A batch that is shared among replicas comes to what it comes to on one."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.towers import Noise
from pipeline.model.workers import distributed
from pipeline.model.workers.distributed import Share, is_chief, leave, meet, share, shared, without_repeats
from tests import forks
from tests.pipeline.model.workers.two_replicas import CASES


def two_replicas(*cases: str) -> list[Any]:
    """What the module of this name prints."""
    command = [sys.executable, "-m", "tests.pipeline.model.workers.two_replicas", *cases]
    done = forks.run(command, cwd=forks.CHECKOUT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.smoke
def test_gradients_reach_the_replica_that_a_row_comes_from() -> None:
    [(gathered, gradients)] = two_replicas()
    assert gathered == [[1, 2, 3]] * 2
    # One replica's loss is the sum of the squares, the other's twice the sum: together 2 g + 2.
    assert gradients == [[4, 6], [8]]


@pytest.mark.slow
def test_two_replicas_train_as_one_does() -> None:
    _, *found = two_replicas(*CASES)
    assert [result.pop("case") for result in found] == list(CASES)
    for case, result in zip(CASES, found):
        # Attention has gradients near nothing, whose rounding Adam blows up.
        weights = 1e-4 if case == "attention" else 1e-5
        assert result.pop("weights") < weights, case
        assert result.pop("steps") == 0, case
        assert max(result.values()) < 2e-6, case


@pytest.mark.slow
@pytest.mark.smoke
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


def test_who_knows_that_all_is_written_may_lose_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends first takes the words along that others still wait for."""
    ended_at, met = 1, []

    def lonely(_: tf.distribute.Strategy, word: str) -> bool:
        met.append(word)
        if len(met) == ended_at:
            raise tf.errors.UnavailableError(None, None, "Socket closed")
        return True

    monkeypatch.setattr(distributed, "meet", lonely)
    with pytest.raises(tf.errors.UnavailableError):  # the chief may have ended in its export
        leave(tf.distribute.get_strategy())
    met.clear()
    ended_at = 2
    leave(tf.distribute.get_strategy())
    assert len(set(met)) == 2
