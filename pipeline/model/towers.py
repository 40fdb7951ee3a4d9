"""The two towers and the TFRS model that trains them.

The query tower adds up what is known of a request: the items of the user's history, the user's id and features, the
hour. Each part can be missing, and training leaves parts out on purpose, so that users who were never seen in training
are served as well as any other. The candidate tower adds an item's own embedding and those of its side features; an
item without training events is described by the features alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

from pipeline.model import losses
from pipeline.model.keras_private import forget
from pipeline.model.preprocessing import FIRST, QUERY_PREFIX, UNKNOWN
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.model.transformer import AT, OF, SEQUENCES, Transformer
from pipeline.model.workers.distributed import Share, add_up, without_repeats

Inputs = Mapping[str, tf.Tensor]

TASK = "task"
"""What a batch has of each event [B] where there are tasks: the number of the one that learns it."""

_TRANSFORMER_NOISE = 16
"""The first stream of noise that the transformer draws from."""
_LARGE = 1 << 16
"""Items; about as many as the histories of a batch have. With more, no step does anything for each of them."""


@dataclass(frozen=True)
class SideFeature:
    """What a tower must know of one side feature."""

    name: str
    is_number: bool
    vocabulary_size: int = 0
    """Number of values, without padding and unknown; 0 for a number and for a vector."""
    width: int = 0
    """Length of a vector; 0 for anything else."""

    @property
    def is_dense(self) -> bool:
        """Whether its values count as they are, without a vocabulary."""
        return self.is_number or self.width > 0


@dataclass(frozen=True)
class ItemFeatures:
    """The side features of N items, row by row.

    `values[name]` is [N] float32 for a number, [N, E] float32 for a vector, else [N, L] int32 indices padded with 0.
    """

    values: Mapping[str, np.ndarray]

    def take(self, rows: np.ndarray) -> ItemFeatures:
        """The features of `rows` [M] int."""
        return ItemFeatures({name: value[rows] for name, value in self.values.items()})


@dataclass(frozen=True)
class Vocabulary:
    """What the towers must know of the data."""

    counts: np.ndarray
    """[N] int64, training events of each item, in the order of the item vocabulary."""
    item_features: ItemFeatures
    """Side features of the vocabulary's items, in its order."""
    candidate_features: tuple[SideFeature, ...]
    """What `item_features` holds."""
    query_features: tuple[SideFeature, ...]
    """Features of the user and of the moment."""
    num_users: int
    """Size of the user vocabulary; 0 where the towers do without ids of users."""
    max_history: int
    """Most items of a history."""

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.counts)


def _normal(dim: int) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=0.4 / np.sqrt(dim))


def _table(name: str, rows: int, dim: int) -> keras.layers.Embedding:
    return keras.layers.Embedding(rows, dim, embeddings_initializer=_normal(dim), name=name)


@dataclass(frozen=True)
class Noise:
    """What a training step leaves out.

    A function of the seed and of an event's place in the batch alone, so that a resumed training goes on alike, and one
    on several replicas does what one on a single replica does.
    """

    seed: tf.Tensor
    """[2] int64."""
    share: Share | None = None
    """Which part of the batch the rows are; None: all of it."""

    def dropped(self, shape: Any, rate: float, stream: int) -> tf.Tensor:
        """Which entries of `shape`, whose first dimension is that of the events, to leave out."""
        seed = tf.random.experimental.stateless_fold_in(self.seed, stream)
        if self.share is None:
            return tf.random.stateless_uniform(shape, seed) < rate
        whole = tf.concat([[self.share.batch], shape[1:]], axis=0)
        return self.share.own(tf.random.stateless_uniform(whole, seed)) < rate


class FeatureEmbedding(keras.layers.Layer):
    """Side features of B rows to one embedding [B, D]: the sum over features of the mean over a feature's values."""

    def __init__(self, features: tuple[SideFeature, ...], prefix: str, dim: int) -> None:
        super().__init__(name=f"{prefix}features")
        self._features = features
        self._prefix = prefix
        self._dim = dim
        self.tables = {
            f.name: _table(prefix + f.name, f.vocabulary_size + FIRST, dim) for f in features if not f.is_dense
        }

    def build(self, input_shape: Any) -> None:
        """Creates the directions of numbers and of the entries of vectors."""
        self.directions = {
            f.name: self.add_weight(
                name=self._prefix + f.name, shape=[f.width, self._dim] if f.width else [self._dim], initializer="zeros"
            )
            for f in self._features
            if f.is_dense
        }
        super().build(input_shape)

    def call(self, values: Inputs) -> tf.Tensor:
        """Embeds `values` as in `ItemFeatures`. Unknown and missing values add nothing."""
        return tf.add_n([*self.parts(values).values()])

    def parts(self, values: Inputs) -> dict[str, tf.Tensor]:
        """What each feature adds, [B, D], by its name."""
        parts = {}
        for feature in self._features:
            value = values[feature.name]
            if feature.is_number:
                parts[feature.name] = value[:, tf.newaxis] * self.directions[feature.name]
                continue
            if feature.width:
                # A step moves each of its many weights as far as an embedding's: together they shall go no further.
                parts[feature.name] = tf.matmul(value, self.directions[feature.name]) / np.sqrt(feature.width)
                continue
            present = tf.cast(value > UNKNOWN, tf.float32)
            total = tf.squeeze(tf.matmul(present[:, tf.newaxis, :], self.tables[feature.name](value)), axis=1)
            parts[feature.name] = tf.math.divide_no_nan(total, tf.reduce_sum(present, axis=1, keepdims=True))
        return parts


class _Layers(keras.layers.Layer):
    """Hidden ReLU layers and a projection, added to their input [B, D]: depth starts as a small correction."""

    def __init__(self, widths: tuple[int, ...], dim: int, name: str) -> None:
        super().__init__(name=name)
        self._hidden = [keras.layers.Dense(width, activation="relu") for width in widths]
        self._project = keras.layers.Dense(dim, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))

    def call(self, value: tf.Tensor) -> tf.Tensor:
        hidden = value
        for layer in self._hidden:
            hidden = layer(hidden)
        return value + self._project(hidden)


class _TaskHeads(keras.layers.Layer):
    """What each of T tasks makes of queries [B, D], [B, T, D]: a linear correction, which starts as none.

    Its offset is what makes an item more popular in one task than in another.
    """

    def __init__(self, tasks: int, dim: int) -> None:
        super().__init__(name="task_heads")
        self._kernel = self.add_weight(name="kernel", shape=[tasks, dim, dim], initializer="zeros")
        self._offset = self.add_weight(name="offset", shape=[tasks, dim], initializer="zeros")

    def call(self, query: tf.Tensor) -> tf.Tensor:
        return query[:, tf.newaxis] + tf.einsum("bd,tde->bte", query, self._kernel) + self._offset

    def turned_round(self, candidates: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The same for the other side of a product, so that its terms are those of the queries before the heads.

        Args:
            candidates: [B, C, D].
            counts: [B, T], what each task's query counts.

        Returns:
            Vectors [B, C, D] and numbers [B, C]: the product of a candidate with the weighted sum of the tasks' queries
            is that of its vector with the query [B, D], plus its number.
        """
        kernel, offset = tf.einsum("bt,tde->bde", counts, self._kernel), tf.matmul(counts, self._offset)
        same = candidates * tf.reduce_sum(counts, axis=1)[:, tf.newaxis, tf.newaxis]
        return same + tf.matmul(candidates, kernel, transpose_b=True), tf.einsum("bcd,bd->bc", candidates, offset)


class _SelfAttention(keras.layers.Layer):
    """One block of a transformer over a history [B, H, D]: what an item says depends on the others beside it.

    (Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018. Not causal: the whole history is past.)
    """

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__(name="self_attention")
        self._attend = keras.layers.MultiHeadAttention(heads, max(1, dim // heads))
        self._norms = [keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self._widen = keras.layers.Dense(dim, activation="relu")
        self._project = keras.layers.Dense(dim)

    def call(self, value: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
        normed = self._norms[0](value)
        # Who attends to nothing but padding would give NaN; its place has no weight afterwards.
        mask = known[:, tf.newaxis, :] | ~tf.reduce_any(known, axis=1)[:, tf.newaxis, tf.newaxis]
        value += self._attend(normed, normed, attention_mask=mask)
        return value + self._project(self._widen(self._norms[1](value)))


class HistoryItems(keras.layers.Layer):
    """Items of histories [B, H] int to embeddings [B, H, D]: an item's own and, if wanted, those of its side features.

    Every call embeds the features of the whole vocabulary, which histories have most of; of a vocabulary larger than a
    batch's histories, of the items that are in them.
    """

    def __init__(self, items: keras.layers.Embedding, vocabulary: Vocabulary, settings: ModelSettings) -> None:
        super().__init__(name="history_items")
        self._items = items
        features = vocabulary.candidate_features if settings.history_features else ()
        self._features = FeatureEmbedding(features, "history_", settings.width) if features else None
        self._values = {name: tf.constant(value) for name, value in vocabulary.item_features.values.items()}

    def call(self, history: tf.Tensor) -> tf.Tensor:
        """Embeds `history`."""
        items = self._items(history)
        if self._features is None:
            return items
        if next(iter(self._values.values())).shape[0] <= _LARGE:
            return items + tf.gather(tf.pad(self._features(self._values), [[FIRST, 0], [0, 0]]), history)
        index, place = tf.unique(tf.reshape(history, [-1]))
        row = tf.maximum(index - FIRST, 0)
        features = self._features({name: tf.gather(value, row) for name, value in self._values.items()})
        features *= tf.cast(index >= FIRST, tf.float32)[:, tf.newaxis]
        return items + tf.reshape(tf.gather(features, place), tf.shape(items))


class QueryTower(keras.layers.Layer):
    """A request to its embedding [B, D] float32.

    The embeddings of the history's items are averaged with weights that depend on their place, newest first, and are
    learned (recency-weighted pooling); padding and unknown items have no weight. An empty history gives the embedding
    of nothing, which is learned too. The embeddings of the user's id and of the features are added.
    """

    def __init__(self, items: keras.layers.Embedding, vocabulary: Vocabulary, settings: ModelSettings) -> None:
        super().__init__(name="query_tower")
        dim = settings.width
        self._items: Any = HistoryItems(items, vocabulary, settings)
        self._settings = settings
        self._num_items = vocabulary.num_items
        self._max_history = vocabulary.max_history
        self._attention = _SelfAttention(settings.heads, dim) if settings.history == "attention" else None
        self._transformer = None
        if settings.history == "transformer":
            self._transformer = Transformer(settings.transformer_blocks, settings.heads, dim, vocabulary.max_history)
        self._users: Any = _table("users", vocabulary.num_users + FIRST, dim) if settings.user_id else None
        self._feature_names = [f.name for f in vocabulary.query_features]
        self._features = FeatureEmbedding(vocabulary.query_features, QUERY_PREFIX, dim) if self._feature_names else None
        self._layers = _Layers(settings.query_layers, dim, "query_layers") if settings.query_layers else None
        self._heads = _TaskHeads(len(settings.tasks), dim) if settings.tasks else None

    def build(self, input_shape: Any) -> None:
        """Creates the weights of places and the embedding of an empty history."""
        if self._transformer is None:
            # Half of the weight is gone after some ten events; training moves it from there.
            start = -0.07 * np.arange(self._max_history, dtype=np.float32)
            self._recency = self.add_weight(
                name="recency", shape=[self._max_history], initializer=keras.initializers.Constant(start)
            )
        self._nothing = self.add_weight(name="nothing", shape=[self._settings.width], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: Inputs, noise: Noise | None = None, shares: tf.Tensor | None = None) -> tf.Tensor:
        """Embeds a batch.

        Args:
            inputs: `history` [B, H] int, newest first, H at most `max_history`, or `SEQUENCES`, `OF` and `AT`, which
                are told apart by what there is; `user` [B] int where the model has ids of users; and by `QUERY_PREFIX`
                and name the query features as in `ItemFeatures`.
            noise: What training leaves out; None leaves out nothing.
            shares: [B, T] float32, what each task counts, of 1 in all; None as the settings have it. A query is the sum
                of the tasks' queries, each times its share, so that a score is that sum of the tasks' scores.
        """
        user = None
        if self._users is not None:
            user = self._users(inputs["user"]) * tf.cast(inputs["user"] > UNKNOWN, tf.float32)[:, tf.newaxis]
        if SEQUENCES in inputs:
            return self._sum(self._pool_sequences(inputs, noise), user, inputs, noise, shares)
        history = inputs["history"]
        items = None if self._settings.history == "none" else self._items(history)
        return self.combine(items, history > UNKNOWN, user, inputs, noise, shares)

    def combine(
        self,
        items: tf.Tensor | None,
        known: tf.Tensor,
        user: tf.Tensor | None,
        inputs: Inputs,
        noise: Noise | None = None,
        shares: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """All that follows the tables.

        Args:
            items: [B, H, D] embeddings of the history's items; not used with `history: none`.
            known: [B, H] bool, where the history has an item that training saw.
            user: [B, D] embeddings of the users, zeros for one that training did not see; None without ids of users.
            inputs: The query features, as in `call`.
            noise: As in `call`.
            shares: As in `call`.
        """
        return self._sum(self._pool(items, known, noise), user, inputs, noise, shares)

    @property
    def is_sum(self) -> bool:
        """Whether a query is a sum in which each item of the history has a term of its own, see `terms`."""
        return self._attention is None and self._transformer is None and self._layers is None

    def terms(
        self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, inputs: Inputs
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """The terms that `combine`, of the same arguments, is the sum of where the tower `is_sum`.

        Normalised queries have the terms of what is normalised, at the scale that this has. Where there are tasks the
        terms are those of what their queries are made of, see `seen_by_tasks`.

        Returns:
            What the embedding of each item counts, [B, H]; what an empty history adds, the user's id, and the features
            by their names, [B, D] each.
        """
        nothing = tf.zeros([tf.shape(known)[0], 1]) + self._nothing
        if self._settings.history == "none":
            share = tf.zeros_like(known, tf.float32)
        else:
            weight = tf.exp(self._recency[: tf.shape(known)[1]]) * tf.cast(known, tf.float32)
            share = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=1, keepdims=True))
            nothing = tf.where(tf.reduce_any(known, axis=1, keepdims=True), 0.0, nothing)
        features = {}
        if self._features is not None:
            features = self._features.parts({name: inputs[QUERY_PREFIX + name] for name in self._feature_names})
        scale = tf.ones([tf.shape(known)[0], 1])
        if self._settings.normalize and self._heads is None:
            pooled = tf.squeeze(tf.matmul(share[:, tf.newaxis, :], items), axis=1)
            query = tf.add_n([pooled, nothing, user, *features.values()])
            square = tf.reduce_sum(query**2, axis=1, keepdims=True)
            scale = tf.math.rsqrt(tf.maximum(square, 1e-12)) / self._settings.temperature  # as `l2_normalize` has it
        return share * scale, nothing * scale, user * scale, {name: value * scale for name, value in features.items()}

    def seen_by_tasks(self, candidates: tf.Tensor, query: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What to multiply the terms of a query [B, D] with, and what to add, for its products with candidates.

        Args:
            candidates: [B, C, D].
            query: [B, D], the sum of what `terms` gives.
            shares: [B, T], as in `call`.

        Returns:
            Vectors [B, C, D] and numbers [B, C].
        """
        assert self._heads is not None  # there are tasks
        if self._settings.normalize:
            square = tf.reduce_sum(self._heads(query) ** 2, axis=2)
            shares *= tf.math.rsqrt(tf.maximum(square, 1e-12)) / self._settings.temperature  # as `l2_normalize` has it
        return self._heads.turned_round(candidates, shares)

    def _sum(
        self,
        query: tf.Tensor,
        user: tf.Tensor | None,
        inputs: Inputs,
        noise: Noise | None,
        shares: tf.Tensor | None,
    ) -> tf.Tensor:
        settings = self._settings
        if user is not None:
            if noise is not None:
                user *= tf.cast(~noise.dropped([tf.shape(user)[0], 1], settings.id_dropout, 1), tf.float32)
            query += user
        if self._features is not None:
            features = self._features({name: inputs[QUERY_PREFIX + name] for name in self._feature_names})
            if noise is not None:
                kept = ~noise.dropped([tf.shape(features)[0], 1], settings.feature_dropout, 2)
                features *= tf.cast(kept, tf.float32)
            query += features
        if self._layers is not None:
            query = self._layers(query)
        if self._heads is not None:
            query = self._heads(query)
        if settings.normalize:
            # Tasks' queries each by itself, as they are learned: a score is the weighted sum of their cosines.
            query = tf.math.l2_normalize(query, axis=len(query.shape) - 1) / settings.temperature
        if self._heads is not None:
            shares = tf.constant([[*settings.task_shares.values()]]) if shares is None else shares
            query = tf.reduce_sum(query * shares[:, :, tf.newaxis], axis=1)
        if noise is not None and settings.dropout and self._transformer is None:
            kept = ~noise.dropped(tf.shape(query), settings.dropout, 3)
            query *= tf.cast(kept, tf.float32) / (1 - settings.dropout)
        return query

    def history_table(self) -> tf.Tensor:
        """What the items of a history are embedded as, [N + FIRST, D]."""
        return self._items(tf.range(self._num_items + FIRST))

    def take_tables(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns what the items of a history [N + FIRST, D] and the users are embedded as, and forgets it.

        For serving, which stores tables its own way; what is left of the tower is `combine`.
        """
        items = self.history_table().numpy()
        users = None if self._users is None else self._users.embeddings.numpy()
        for name in ("_items", "_users"):
            forget(self, name)
        return items, users

    def _pool(self, items: tf.Tensor | None, known: tf.Tensor, noise: Noise | None) -> tf.Tensor:
        if self._settings.history == "none":
            return tf.zeros([tf.shape(known)[0], 1]) + self._nothing
        if self._transformer is not None:
            # A batch of empty histories has no place at all, where there must be one.
            items, known = tf.pad(items, [[0, 0], [0, 1], [0, 0]]), tf.pad(known, [[0, 0], [0, 1]])
            newest = tf.argmax(known, axis=1, output_type=tf.int32)  # what is older than the newest that training saw
            wanted = self._transformer.encode_at(items, known, newest)
            return tf.where(tf.reduce_any(known, axis=1, keepdims=True), wanted, self._nothing)
        if noise is not None:
            known &= ~noise.dropped(tf.shape(known), self._settings.history_dropout, 0)
        weight = tf.exp(self._recency[: tf.shape(known)[1]]) * tf.cast(known, tf.float32)
        total = tf.reduce_sum(weight, axis=1, keepdims=True)
        if self._attention is not None:
            items = self._attention(items, known)
        # [B, 1, H] @ [B, H, D]: no [B, H, D] product is stored besides the embeddings.
        pooled = tf.squeeze(tf.matmul(weight[:, tf.newaxis, :], items), axis=1)
        return tf.math.divide_no_nan(pooled, total) + tf.where(total > 0, 0.0, self._nothing)

    def _pool_sequences(self, inputs: Inputs, noise: Noise | None) -> tf.Tensor:
        """[B, D], of the events' histories, each a sequence from a place on."""
        sequences, of, at = inputs[SEQUENCES], inputs[OF], inputs[AT]
        streams, rate = itertools.count(_TRANSFORMER_NOISE), self._settings.dropout

        def drop(value: tf.Tensor) -> tf.Tensor:
            if noise is None or not rate:
                return value
            kept = ~noise.dropped(tf.shape(value), rate, next(streams))
            return value * tf.cast(kept, tf.float32) / (1 - rate)

        assert self._transformer is not None  # nothing else learns from sequences
        found = self._transformer.encode(self._items(sequences), sequences > UNKNOWN, drop)
        wanted = tf.gather_nd(found, tf.stack([of, tf.maximum(at, 0)], axis=1))
        return tf.where((at >= 0)[:, tf.newaxis], wanted, self._nothing)


class CandidateTower(keras.layers.Layer):
    """Item index [N] int and side features to candidate embedding [N, D] and bias [N], float32.

    The embedding is the sum of the item's own and of its features'.
    """

    def __init__(self, items: keras.layers.Embedding, vocabulary: Vocabulary, settings: ModelSettings) -> None:
        super().__init__(name="candidate_tower")
        self._items = items
        self._num_items = vocabulary.num_items
        self._settings = settings
        features = vocabulary.candidate_features
        self._features = FeatureEmbedding(features, "item_", settings.width) if features else None
        layers = settings.candidate_layers
        self._layers = _Layers(layers, settings.width, "candidate_layers") if layers else None

    def build(self, input_shape: Any) -> None:
        """Creates the biases."""
        self._bias = self.add_weight(
            name="bias", shape=[self._num_items + FIRST], initializer="zeros", trainable=self._settings.item_bias
        )
        super().build(input_shape)

    def call(self, index: tf.Tensor, values: Inputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeds items of `index` [N] with side features `values` as in `ItemFeatures`."""
        embedding = tf.zeros([tf.size(index), self._settings.width])
        if self._settings.item_id:
            # The row of the unknown item was never trained: its noise must not reach an answer.
            embedding += self._items(index) * tf.cast(index > UNKNOWN, tf.float32)[:, tf.newaxis]
        if self._features is not None:
            embedding += self._features(values)
        if self._layers is not None:
            embedding = self._layers(embedding)
        if self._settings.normalize:
            embedding = tf.math.l2_normalize(embedding, axis=1)
        # An item without training events starts where the least popular trained item stands.
        least = tf.reduce_min(self._bias[FIRST:])
        if self._num_items > _LARGE:  # its gradient, all zeros in training, would be as large as the vocabulary
            least = tf.stop_gradient(least)
        bias = tf.where(index > UNKNOWN, tf.gather(self._bias, index), least)
        return embedding, bias


class TwoTowerModel(tfrs.models.Model):
    """Trains both towers on batches of `item` [B], `weight` [B] and the query tower's inputs.

    With tasks a batch has `TASK` [B] too, and each event is learned by its own task's query.

    Args:
        settings: The towers' settings.
        training: The loss's settings.
        vocabulary: What the data holds.
        seed: Of what training leaves out and of the negatives it draws.
        negatives: Whether events may be negative: have a weight below 0.
        may_repeat: Whether answers may hold what a user had.
    """

    def __init__(
        self,
        settings: ModelSettings,
        training: TrainingSettings,
        vocabulary: Vocabulary,
        seed: int,
        negatives: bool = False,
        may_repeat: bool = False,
    ) -> None:
        super().__init__()
        num_items = vocabulary.num_items
        settings = settings.resolved()
        training = training.resolved(settings.history, num_items)
        candidates = _table("candidate_items", num_items + FIRST, settings.width)
        shared = settings.shared_item_table or settings.history == "none"
        history = candidates if shared else _table("history_items", num_items + FIRST, settings.width)
        self.query_tower = QueryTower(history, vocabulary, settings)
        self.candidate_tower = CandidateTower(candidates, vocabulary, settings)
        self._training = training
        self._negatives = negatives
        self.may_repeat = may_repeat
        self._num_items = num_items
        self._num_tasks = len(settings.tasks)
        self.learns_from_sequences = settings.history == "transformer"
        self.max_history = vocabulary.max_history
        self._item_features = {name: tf.constant(v) for name, v in vocabulary.item_features.values.items()}
        self._probability = tf.constant(vocabulary.counts / max(vocabulary.counts.sum(), 1), tf.float32)
        self._seed = seed
        # The number of steps taken, so that each step's noise is its own, also after a resume.
        self.step = self.add_weight(
            name="step",
            shape=[],
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,  # all replicas count alike
        )
        self._mean_loss = keras.metrics.Mean("loss")

    def candidates(self, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings [C, D] and biases [C] of the items at rows [C] int of the vocabulary."""
        return self.candidate_tower(
            row + FIRST, {name: tf.gather(value, row) for name, value in self._item_features.items()}
        )

    def vocabulary_embeddings(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings [N, D] and biases [N] of the vocabulary's items, in its order."""
        return self.candidates(tf.range(self._num_items))

    # AutoGraph would rewrite the source of Keras and TFRS for ten seconds, and there is nothing in it to convert.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: Inputs) -> dict[str, tf.Tensor]:
        """One step of training on a batch; gives the mean loss of the pass so far."""
        # As TFRS does it, which also asks for every metric's result: among several replicas a message each.
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
        variables, share = self.trainable_variables, Share.of(inputs)
        gradients = tape.gradient(loss, variables)
        if share is not None:
            gradients = [without_repeats(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, variables))
        self.step.assign_add(1)
        if share is None:
            self._mean_loss.update_state(loss, sample_weight=tf.size(inputs["item"]))
        else:
            # The replicas' losses add up to the batch's, and their weights to its size.
            count = tf.cast(share.count, tf.float32)
            self._mean_loss.update_state(loss * count, sample_weight=tf.cast(share.batch, tf.float32) / count)
        return {"loss": self._mean_loss.result()}

    def compute_loss(self, inputs: Inputs, training: bool = False) -> tf.Tensor:
        """The mean loss of a batch; events of unknown items must not be in it.

        Of a share of a batch it is what this share adds to the batch's, whose sampled items are negatives on every
        replica.
        """
        share = Share.of(inputs)
        seed = tf.stack([tf.constant(self._seed, tf.int64), self.step])
        settings, mixed = self._training, bool(self._training.mixed_precision)
        task = tf.one_hot(inputs[TASK], self._num_tasks) if self._num_tasks else None
        query = self.query_tower(inputs, noise=Noise(seed, share) if training else None, shares=task)
        row = tf.cast(inputs["item"], tf.int32) - FIRST
        batch = None if share is None else share.batch
        if settings.loss == "full":
            embedding, bias = self.vocabulary_embeddings()
            loss = losses.full_softmax(query, embedding, bias, row, inputs["weight"], mixed, batch, self._negatives)
        elif SEQUENCES in inputs:
            candidates, log_q = self._sample(self._some(row, seed), seed)
            embedding, bias = self.candidates(candidates)
            own, own_bias = self.candidates(row)
            sampled = (embedding, bias, candidates, log_q)
            loss = losses.softmax_against(query, own, own_bias, row, *sampled, inputs["weight"], mixed, self._negatives)
        else:
            sampled = row if share is None else tf.cast(share.items, tf.int32) - FIRST
            candidates, log_q = self._sample(sampled, seed)
            first: tf.Tensor | int = 0
            if share is None:
                embedding, bias = self.candidates(candidates)
            else:
                order, first, end = share.blocks(tf.size(sampled), tf.size(candidates) - tf.size(sampled))
                candidates, log_q = tf.gather(candidates, order), tf.gather(log_q, order)
                embedding, bias = self.candidates(candidates[first:end])
                embedding, bias = add_up(embedding, first, tf.size(order)), add_up(bias, first, tf.size(order))
            loss = losses.sampled_softmax(
                query,
                embedding,
                bias,
                candidates,
                log_q,
                inputs["weight"],
                settings.hard_negatives,
                mixed,
                first,
                batch,
                self._negatives,
            )
        if settings.l2:
            norms = tf.reduce_mean(tf.reduce_sum(embedding**2, 1))  # the same on every replica
            norms = norms if share is None else norms / tf.cast(share.count, tf.float32)
            loss += settings.l2 * (losses.mean(tf.reduce_sum(query**2, 1), batch) + norms)
        return loss

    def _some(self, row: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """At most `batch_size` of the rows [B], drawn evenly: sequences have thousands of events a step."""
        stream = tf.random.experimental.stateless_fold_in(seed, 5)
        return tf.random.experimental.stateless_shuffle(row, stream)[: self._training.batch_size]

    def _sample(self, row: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows [C] of a step's candidates, those of the batch first, and the logarithms [C] of how often each comes."""
        candidates, uniform = row, 0
        if self._training.loss == "mixed":
            uniform = self._training.uniform_negatives
            stream = tf.random.experimental.stateless_fold_in(seed, 4)
            drawn = tf.random.stateless_uniform([uniform], stream, 0, self._num_items, tf.int32)
            candidates = tf.concat([row, drawn], axis=0)
        if not self._training.log_q:
            return candidates, tf.zeros(tf.shape(candidates))
        return candidates, losses.log_q(
            tf.gather(self._probability, candidates), tf.size(row), uniform, self._num_items
        )
