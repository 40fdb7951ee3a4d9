"""Towers of seven items, an index of eight events, and what a servable of them must answer, in plain Python."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from components.closed_forms.linear import NAMES
from components.indexer.index import Index, build_index
from components.indexer.saving import make_servable
from components.indexer.settings import IndexerSettings, SimilarSettings
from components.indexer.signatures import Servable
from serving.contract import NO_SCORE

DIM = 3
MAX_HISTORY = 100
ITEMS = ["a", "b", 'c, "quoted"', "d e", "e🙂", "f", "g"]
NEW = "g"
"""An item without training events."""
LOG = [
    # user, item, time
    ("ann", "a", 10),
    ("ann", "b", 20),
    ("ann", "a", 30),
    ("bob, jr", "d e", 15),
    ("bob, jr", "a", 15),
    ("cleo", "e🙂", 5),
    ("cleo", "f", 6),
    ("cleo", 'c, "quoted"', 7),
]
DEFAULT_K = 4
SETTINGS = IndexerSettings(default_k=DEFAULT_K)
EMBEDDING = SimilarSettings(method="embedding")


def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(ITEMS), DIM)).astype(np.float32), rng.normal(size=len(ITEMS)).astype(np.float32)


SHIFTS = {("ann", 10): 5.0, ("ann", 30): 2.0, ("cleo", 7): -1.0}
"""Of some events a feature of the user, `shift`; the newest event's counts."""


class TinyQueryPart(tf.Module):
    """A query is the mean of the embeddings of the known items of the history, plus `shift`, plus the user's."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, DIM]),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([None, DIM]),
            tf.TensorSpec([None, 2], tf.string),
        ]
    )
    def combine(self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        weight = tf.cast(known, tf.float32)[:, :, tf.newaxis]
        mean = tf.math.divide_no_nan(tf.reduce_sum(items * weight, axis=1), tf.reduce_sum(weight, axis=1))
        spec = {"shift": tf.io.FixedLenFeature([], tf.float32, default_value=np.nan)}
        shift = tf.reshape(tf.io.parse_example(tf.reshape(context, [-1]), spec)["shift"], [-1, 2])
        shift = tf.where(tf.math.is_nan(shift[:, 1]), shift[:, 0], shift[:, 1])
        return mean + tf.where(tf.math.is_nan(shift), 0.0, shift)[:, tf.newaxis] + user

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, DIM]),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([None, DIM]),
            tf.TensorSpec([None, 2], tf.string),
            tf.TensorSpec([None, None, DIM]),
        ]
    )
    def explain(
        self, items: tf.Tensor, known: tf.Tensor, user: tf.Tensor, context: tf.Tensor, candidates: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        weight = tf.cast(known, tf.float32)
        share = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=1, keepdims=True))
        shift = self.combine(tf.zeros_like(items), known, tf.zeros_like(user), context)
        return {
            "contributions": tf.matmul(candidates, items, transpose_b=True) * share[:, tf.newaxis],
            "parts": tf.matmul(candidates, tf.stack([user, shift], axis=1), transpose_b=True),
            "part_names": tf.constant(["user_id", "feature:shift"]),
            "method": tf.constant("exact"),
        }


class TwoTasks(tf.Module):
    """The first task's query is that of `TinyQueryPart`, the second's its opposite."""

    def __init__(self) -> None:
        super().__init__()
        self._part = TinyQueryPart()
        specs = [tf.TensorSpec([None, None, DIM]), tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None, DIM])]
        specs.append(tf.TensorSpec([None, 2], tf.string))
        candidates, shares = tf.TensorSpec([None, None, DIM]), tf.TensorSpec([None, 2])
        self.combine = tf.function(self._combine, [*specs, shares])
        self.explain = tf.function(self._explain, [*specs, candidates, shares])

    def _combine(self, *asked: tf.Tensor) -> tf.Tensor:
        *asked, shares = asked
        return self._part.combine(*asked) * (shares[:, :1] - shares[:, 1:])

    def _explain(self, *asked: tf.Tensor) -> dict[str, tf.Tensor]:
        *asked, candidates, shares = asked
        return self._part.explain(*asked, candidates * (shares[:, :1] - shares[:, 1:])[:, tf.newaxis])


class TinyTowers(tf.Module):
    """Towers whose items are in a history what they are as candidates; users add nothing, or what `users` says."""

    def __init__(self, users: dict[str, list[float]] | None = None, with_tasks: bool = False) -> None:
        super().__init__()
        self.query_part = TwoTasks() if with_tasks else TinyQueryPart()
        self.users = users or {}
        embedding, bias = vectors()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ITEMS, tf.range(len(ITEMS), dtype=tf.int64)), -1
        )
        self.embedding = tf.Variable(embedding)
        self.bias = tf.Variable(bias)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def history_item(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        row = self.table.lookup(ids)
        return {"embedding": tf.gather(self.embedding, tf.maximum(row, 0)), "known": row >= 0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def user(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        same = [tf.cast(ids == name, tf.float32)[:, tf.newaxis] * vector for name, vector in self.users.items()]
        return {"embedding": tf.add_n([tf.zeros([tf.size(ids), DIM]), *same])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def candidate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        item = tf.io.parse_example(examples, {"item_id": tf.io.FixedLenFeature([], tf.string)})["item_id"]
        row = self.table.lookup(item)
        return {"item_id": item, "embedding": tf.gather(self.embedding, row), "bias": tf.gather(self.bias, row)}


class TinyRanker(tf.Module):
    """Turns the order of candidates round, and prefers what is popular: a correction that can be worked out."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, DIM], name="query"),
            tf.TensorSpec([None, None, DIM], name="embedding"),
            tf.TensorSpec([None, None], name="bias"),
            tf.TensorSpec([None, None], name="popularity"),
            tf.TensorSpec([None, None, DIM], name="history"),
            tf.TensorSpec([None, None], tf.bool, name="known"),
            tf.TensorSpec([None, None, len(NAMES)], name="votes"),
        ]
    )
    def rank(
        self,
        query: tf.Tensor,
        embedding: tf.Tensor,
        bias: tf.Tensor,
        popularity: tf.Tensor,
        history: tf.Tensor,
        known: tf.Tensor,
        votes: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        score = tf.squeeze(tf.matmul(embedding, query[:, :, tf.newaxis]), axis=2) + bias + tf.reduce_sum(votes, axis=2)
        seen = tf.reduce_sum(tf.cast(known, tf.float32), axis=1, keepdims=True)
        return {"correction": -2 * score + popularity + seen}


def write_examples(directory: Path, split: str, rows: list[dict[str, Any]]) -> str:
    folder = directory / f"Split-{split}"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for row in rows:
            example = tf.train.Example()
            for name, value in row.items():
                feature = example.features.feature[name]
                if isinstance(value, int):
                    feature.int64_list.value.append(value)
                elif isinstance(value, float):
                    feature.float_list.value.append(value)
                elif isinstance(value, list):
                    feature.float_list.value.extend(value)
                else:
                    feature.bytes_list.value.append(value.encode())
            writer.write(example.SerializeToString())
    return str(directory)


def write_towers(
    directory: Path,
    context: list[dict[str, str]],
    user_features: list[str],
    users: dict[str, list[float]] | None = None,
    candidates: int = 0,
    tasks: dict[str, float] | None = None,
) -> str:
    """Writes towers; with `candidates` there is a second stage for so many, with `tasks` there are these two."""
    module = TinyTowers(users, bool(tasks))
    signatures = {name: getattr(module, name) for name in ("candidate", "history_item", "user")}
    if candidates:
        module.ranking_part = TinyRanker()
    tf.saved_model.save(module, str(directory), signatures=signatures)
    (directory / "assets.extra").mkdir()
    manifest: dict[str, Any] = {"context": context, "user_features": user_features, "max_history": MAX_HISTORY}
    if candidates:
        manifest["candidates"] = candidates
    if tasks:
        manifest["tasks"] = [{"name": name, "weight": weight} for name, weight in tasks.items()]
    (directory / "assets.extra" / "towers.json").write_text(json.dumps(manifest))
    return str(directory)


def make_index(towers: str, data: Path) -> Index:
    catalogue = write_examples(
        data / "catalogue", "catalogue", [{"item_id": item, "display": f"Title {item}"} for item in ITEMS]
    )
    rows = [
        {"user_id": user, "item_id": item, "timestamp": time}
        | ({"shift": SHIFTS[user, time]} if (user, time) in SHIFTS else {})
        for user, item, time in LOG
    ]
    log = write_examples(data / "log", "train", rows)
    return build_index(towers, catalogue, log, stored_history=100, similar=EMBEDDING)


def in_memory(towers: str, index: Index, settings: IndexerSettings) -> Servable:
    """A servable that is not saved: asked one signature, it costs no more than to trace that one."""
    with tempfile.TemporaryDirectory() as folder:
        return make_servable(towers, index, settings, folder)


def ask(servable: Any, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
    """Asks a servable in memory or a loaded one."""
    return {name: value.numpy() for name, value in signatures_of(servable)[signature](**inputs).items()}


def signatures_of(servable: Any) -> Mapping[str, Any]:
    return servable.signatures() if callable(servable.signatures) else servable.signatures


def strings(rows: list[list[str]]) -> tf.Tensor:
    width = max((len(row) for row in rows), default=0)
    matrix = np.full((len(rows), width), "", object)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = row
    return tf.constant(matrix.tolist(), tf.string, shape=matrix.shape)


def recommend(
    servable: Any, users: list[str], histories: list[list[str]], excludes: list[list[str]], k: int
) -> tuple[list[list[str]], np.ndarray, list[str]]:
    answer = ask(
        servable,
        "recommend",
        user_id=tf.constant(users),
        history=strings(histories),
        exclude=strings(excludes),
        k=tf.constant(k),
    )
    ids = [[item.decode() for item in row] for row in answer["item_ids"]]
    return ids, answer["scores"], [source.decode() for source in answer["source"]]


STORED = {"ann": ["a", "b"], "bob, jr": ["a", "d e"], "cleo": ['c, "quoted"', "f", "e🙂"]}
POPULARITY = {"a": 3, "b": 1, 'c, "quoted"': 1, "d e": 1, "e🙂": 1, "f": 1, "g": 0}


def reference(
    user: str, history: list[str], exclude: list[str], k: int, had: set[str] | None = None
) -> tuple[list[str], list[float], str]:
    """What `recommend` must answer, in plain Python; `had` is left out instead of all that the user had."""
    embedding, bias = vectors()
    known_history = [item for item in history if item in ITEMS]
    stored = STORED.get(user, [])
    basis = known_history or stored
    if user in STORED or known_history:
        query = np.mean([embedding[ITEMS.index(item)] for item in basis], axis=0)
        scores = embedding @ query + bias
        source = "user" if user in STORED else "history"
    else:
        scores = np.array([POPULARITY[item] for item in ITEMS], np.float32)
        source = "popular"
    left_out = {*exclude, *({*history, *stored} if had is None else had)}
    best = sorted((row for row in range(len(ITEMS)) if ITEMS[row] not in left_out), key=lambda row: (-scores[row], row))
    ids = [ITEMS[row] for row in best[:k]]
    padding = k - len(ids)
    return ids + [""] * padding, [float(scores[row]) for row in best[:k]] + [NO_SCORE] * padding, source


any_item = st.sampled_from([*ITEMS, "unknown", ""])
any_query = st.tuples(
    st.sampled_from([*STORED, "stranger", ""]), st.lists(any_item, max_size=6), st.lists(any_item, max_size=8)
)


def shift_of(value: float | None) -> bytes:
    example = tf.train.Example()
    if value is not None:
        example.features.feature["shift"].float_list.value.append(value)
    return example.SerializeToString()
