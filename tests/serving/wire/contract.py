"""A servable of the Indexer's own with random towers and stored histories, and in NumPy what it must answer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED, DIM, STORED_HISTORY = 20, 4, 6
ITEMS = [*(f"item {number}" for number in range(25)), "ä", "🎬", "日本", 'say "hi"', "a,b", "a\\b", "0", "-1", "null"]
USERS = ["ann", "bob, jr", "ünal", "🙂", "no history"]


@dataclass(frozen=True)
class World:
    """What the servable was made of."""

    embedding: np.ndarray
    bias: np.ndarray
    popularity: np.ndarray
    stored: dict[str, list[str]]

    def recommend(self, user: str, history: list[str], exclude: list[str]) -> tuple[list[str], np.ndarray, str]:
        """All that may be recommended, best first, with scores and source."""
        known_history = [item for item in history if item in ITEMS]
        stored = self.stored.get(user, [])
        if user in self.stored or known_history:
            rows = [ITEMS.index(item) for item in known_history or stored]
            query = self.embedding[rows].mean(axis=0) if rows else np.zeros(DIM, np.float32)
            scores = self.embedding @ query + self.bias
            source = "user" if user in self.stored else "history"
        else:
            scores, source = self.popularity, "popular"
        return *_ranked(scores, {*history, *stored, *exclude}), source

    def similar(self, item: str, exclude: list[str]) -> tuple[list[str], np.ndarray]:
        """All items by cosine with `item`, best first; none for an unknown item."""
        if item not in ITEMS:
            return [], np.zeros(0, np.float32)
        direction = self.embedding / np.linalg.norm(self.embedding, axis=1, keepdims=True)
        return _ranked(direction @ direction[ITEMS.index(item)], {item, *exclude})

    def score(self, user: str, history: list[str], item: str) -> float:
        """The item's score, whether it may be recommended or not."""
        if item not in ITEMS:
            return -np.inf
        known_history = [each for each in history if each in ITEMS]
        rows = [ITEMS.index(each) for each in known_history or self.stored.get(user, [])]
        if user not in self.stored and not known_history:
            return float(self.popularity[ITEMS.index(item)])
        query = self.embedding[rows].mean(axis=0) if rows else np.zeros(DIM, np.float32)
        return float(self.embedding[ITEMS.index(item)] @ query + self.bias[ITEMS.index(item)])


def world() -> World:
    """The same one each time."""
    rng = np.random.default_rng(SEED)
    # Ties of popularity are broken by the order of the catalogue.
    popularity = rng.integers(0, 5, len(ITEMS)).astype(np.float32)
    stored = {
        user: [str(item) for item in rng.permutation(ITEMS)[: rng.integers(1, STORED_HISTORY + 1)]]
        for user in USERS[:-1]
    }
    return World(
        rng.normal(size=(len(ITEMS), DIM)).astype(np.float32),
        rng.normal(size=len(ITEMS)).astype(np.float32),
        popularity,
        {**stored, USERS[-1]: []},
    )


def build(path: Path) -> None:
    """Writes the servable."""
    import tensorflow as tf

    from components.indexer.executor import save_servable
    from components.indexer.servable import Index
    from components.indexer.settings import IndexerSettings

    made = world()

    class Towers(tf.Module):
        """The query is the mean of the embeddings of the history's known items."""

        def __init__(self) -> None:
            super().__init__()
            self.rows = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(ITEMS, tf.range(len(ITEMS), dtype=tf.int64)), -1
            )
            self.embedding = tf.Variable(made.embedding)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string),
                tf.TensorSpec([None, None], tf.string),
                tf.TensorSpec([None, 2], tf.string),
            ]
        )
        def query(self, user_id: tf.Tensor, history: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
            del user_id, context
            row = self.rows.lookup(history)
            known = tf.cast(row >= 0, tf.float32)[:, :, tf.newaxis]
            total = tf.reduce_sum(tf.gather(self.embedding, tf.maximum(row, 0)) * known, axis=1)
            return {"embedding": tf.math.divide_no_nan(total, tf.reduce_sum(known, axis=1))}

    histories = [[ITEMS.index(item) for item in made.stored[user]] for user in USERS]
    index = Index(
        item_ids=np.array([item.encode() for item in ITEMS], object),
        display=np.array([f"Title of {item}".encode() for item in ITEMS], object),
        embedding=made.embedding,
        bias=made.bias,
        popularity=made.popularity,
        user_ids=np.array([user.encode() for user in USERS], object),
        user_context=np.array([b""] * len(USERS), object),
        history_values=np.array([row for history in histories for row in history], np.int32),
        history_splits=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )
    with tempfile.TemporaryDirectory() as folder:
        towers = Towers()
        tf.saved_model.save(towers, folder, signatures={"query": towers.query})
        (Path(folder) / "assets.extra").mkdir()
        (Path(folder) / "assets.extra" / "towers.json").write_text('{"context": [], "user_features": []}')
        save_servable(folder, index, IndexerSettings(), "contract", str(path))


def _ranked(scores: np.ndarray, left_out: set[str]) -> tuple[list[str], np.ndarray]:
    rows = [int(row) for row in np.argsort(-scores, kind="stable") if ITEMS[row] not in left_out]
    return [ITEMS[row] for row in rows], scores[rows]
