"""Synchronous training on several replicas, so that a batch comes to what it would come to on one.

Replica r of N gets the rows r, r + N, r + 2N, … of every batch. The gradients of the replicas' losses add up to the
gradient of the batch's loss, because every replica divides by the size of the whole batch, draws the noise of the whole
batch, and has the sampled items of the whole batch as negatives.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

_REPLICA = "#replica"
_ITEMS = "#items"
"""What a share has beside the columns: the replica's number and their count, [2] int32; all the batch's items."""


@dataclass(frozen=True)
class Share:
    """Which part of a batch of B events a replica has."""

    index: tf.Tensor
    """[] int32, the replica's number, from 0."""
    count: tf.Tensor
    """[] int32, N, how many there are."""
    items: tf.Tensor
    """[B], the items of the whole batch."""

    @classmethod
    def of(cls, inputs: Mapping[str, tf.Tensor]) -> Share | None:
        """The share that `inputs` are; None if they are a whole batch."""
        if _REPLICA not in inputs:
            return None
        return cls(inputs[_REPLICA][0], inputs[_REPLICA][1], inputs[_ITEMS])

    @property
    def batch(self) -> tf.Tensor:
        """[] int32, B."""
        return tf.size(self.items)

    def own(self, values: tf.Tensor) -> tf.Tensor:
        """This replica's rows of `values` [B, ...]; there may be none."""
        # Not a slice, whose shape would be lost for steps that are tensors.
        first = tf.minimum(self.index, self.batch)  # the last batch may have fewer rows than there are replicas
        return tf.gather(values, tf.range(first, self.batch, self.count))

    def blocks(self, batch: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Deals a step's candidates to the replicas: to each those of its events, in their order, then some drawn ones.

        Args:
            batch: B, candidates that are the events' items; they come first.
            drawn: U, candidates that come after them.

        Returns:
            Where each candidate [B + U] stands, ordered by replicas, and where in that order this replica's begin and
            end.
        """
        owner = tf.concat([tf.range(batch) % self.count, tf.range(drawn) % self.count], axis=0)
        first = tf.math.count_nonzero(owner < self.index, dtype=tf.int32)
        end = first + tf.math.count_nonzero(owner == self.index, dtype=tf.int32)
        return tf.argsort(owner, stable=True), first, end


def add_up(values: tf.Tensor, first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Gathers what the replicas have: `values` [C, ...] as rows `first` to `first` + C of a tensor of `count` rows.

    Every replica puts its rows among zeros, and the sum of all is what everyone gets. The gradient of a sum is the sum
    of the replicas' gradients, so what any replica does with a row reaches the one that it comes from.
    """
    after = count - first - tf.shape(values)[0]
    rest = [[0, 0]] * (len(values.shape) - 1)
    padded = tf.pad(values, [[first, after], *rest])
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, padded)


def without_repeats(gradient: Any) -> Any:
    """A gradient whose equal rows are added up, if it is `IndexedSlices`: rows are what replicas send one another.

    The histories of a batch have the same items again and again, so there is several times less to send.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def share(batch: Mapping[str, tf.Tensor], index: tf.Tensor | int, count: int) -> dict[str, tf.Tensor]:
    """The share of a batch, which has a column `item`, that replica `index` of `count` computes."""
    return {
        **{name: column[index::count] for name, column in batch.items()},
        _REPLICA: tf.stack([tf.cast(index, tf.int32), count]),
        _ITEMS: batch["item"],
    }


def shared(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """What `fit` takes for one pass over `batches`, whose number must be known: of several replicas each its shares."""
    count = strategy.num_replicas_in_sync
    if count == 1:
        return {"x": batches}
    # Without an end, of which the workers would otherwise have to tell one another before every step.
    repeated = batches.repeat()

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # The replicas of a worker take its elements in turn.
        here = count // context.num_input_pipelines
        replicas = tf.data.Dataset.range(here).map(
            lambda place: tf.cast(place, tf.int32) + context.input_pipeline_id * here
        )
        return repeated.flat_map(lambda batch: replicas.map(lambda index: share(batch, index, count)))

    return {
        "x": strategy.distribute_datasets_from_function(of_worker),
        "steps_per_epoch": int(batches.cardinality()),
    }


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    return strategy.extended.should_checkpoint


def meet(strategy: tf.distribute.Strategy, word: str) -> bool:
    """Waits for all workers to come to this point; whether they all come with the same word."""
    if strategy.num_replicas_in_sync == 1:
        return True
    number = zlib.crc32(word.encode())
    words = strategy.gather(strategy.run(lambda: tf.constant([number], tf.int64)), axis=0)
    return bool(tf.reduce_all(words == number))


def leave(strategy: tf.distribute.Strategy) -> None:
    """Waits until the process of any worker may end, the chief's work included: TensorFlow fails on those it leaves."""
    meet(strategy, "all is written")
    # Who is first through that would end while others still get their words. Only when all are through does anyone get
    # through the second time; that somebody has ended by then is no matter, for everybody knows the first outcome.
    with contextlib.suppress(tf.errors.OpError):
        meet(strategy, "all know")
