"""An index of three items in the plane, of which everything can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.items import Items
from components.indexer.ranking import Asked

EMBEDDING = np.array([[3, 4], [1, 0], [0, -2]], np.float32)
BIAS = np.array([0.5, 0, -1], np.float32)
POPULARITY = np.array([7, 0, 2], np.float32)
INDEX = Index(
    item_ids=np.array([b"a", b"b", b"c"], object),
    display=np.array([b"A", b"B", b"C"], object),
    embedding=EMBEDDING,
    bias=BIAS,
    history_embedding=EMBEDDING,
    history_known=np.ones(3, bool),
    popularity=POPULARITY,
    user_ids=np.array([b"u"], object),
    user_embedding=np.zeros([0, 2], np.float32),
    user_context=np.array([b""], object),
    history_values=np.array([1], np.int32),
    history_splits=np.array([0, 1], np.int64),
)


def make_items(folder: Path) -> Items:
    file = folder / "items.txt"
    file.write_bytes(b"a\nb\nc")
    return Items(INDEX, str(file), "float32")


def asked(*queries: list[float] | None) -> Asked:
    """Requests with these queries; None for somebody who gets what is popular."""
    vectors = [query or [0.0, 0.0] for query in queries]
    personal = [query is not None for query in queries]
    nothing = tf.zeros([len(queries), 0, 2])
    return Asked(tf.constant(vectors), nothing, tf.zeros([len(queries), 0], tf.bool), tf.constant(personal), {})
