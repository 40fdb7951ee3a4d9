"""Which servables answer alike: a digest of all that decides an answer."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
import tensorflow as tf

from components.indexer.index import Index
from components.indexer.settings import IndexerSettings
from components.indexer.towers import read_manifest
from serving import contract


def fingerprint(towers_dir: str, index: Index, settings: IndexerSettings, code: str = "", towers: Any = None) -> str:
    """A digest of all that decides an answer, so that equal models are known as equal.

    The files of a SavedModel differ from one export to the next even where nothing else does, so what is digested is
    the index, the towers' weights and vocabularies, a probe of the query tower, which tells its graphs apart, and the
    code that made the servable's own graph of all that.

    Args:
        towers_dir: The Trainer's SavedModel.
        index: What the servable is asked about.
        settings: How it answers.
        code: A digest of the code that makes the servable.
        towers: The SavedModel, if it is loaded.
    """
    # The bounds of an approximate index decide whether it is made, not what it answers.
    bounds = {"min_recall", "recall_at", "max_latency_ms", "queries"}
    # What came later counts where it is set, so that what was the same before still is.
    unset = {"exclude"} if settings.exclude == contract.ALL else set()
    digest = hashlib.sha256(settings.model_dump_json(exclude={"index": bounds, **dict.fromkeys(unset, True)}).encode())
    digest.update(code.encode())

    def add(name: str, array: np.ndarray) -> None:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(b"\0".join(array.tolist()) if array.dtype == object else np.ascontiguousarray(array).tobytes())

    for name, array in index.arrays().items():
        add(name, array)
    checkpoint = tf.train.load_checkpoint(os.path.join(towers_dir, "variables", "variables"))
    for name in sorted(checkpoint.get_variable_to_shape_map()):
        if name.endswith("/VARIABLE_VALUE"):
            add(name, checkpoint.get_tensor(name))
    for file in sorted(tf.io.gfile.glob(os.path.join(towers_dir, "assets", "*"))):
        with tf.io.gfile.GFile(file, "rb") as asset:
            digest.update(asset.read())
    noted = read_manifest(towers_dir)
    if "candidates" in noted:
        digest.update(f"candidates {noted['candidates']}".encode())
    tasks = noted.get("tasks", ())
    if tasks:
        digest.update(f"tasks {tasks}".encode())
    items = index.history_embedding[: min(8, noted["max_history"])]
    part = (towers or tf.saved_model.load(towers_dir)).query_part
    asked = (
        tf.constant([items, items]),
        tf.constant([[True] * len(items), [False] * len(items)]),
        tf.zeros([2, items.shape[1]]),
        tf.constant([[*(index.user_context[:1].tolist() or [b""]), b""], [b"", b""]]),
    )
    shares = [tf.constant([[each["weight"] for each in tasks]] * 2)] if tasks else []
    add("probe", part.combine(*asked, *shares).numpy())
    for name, value in sorted(part.explain(*asked, tf.constant([index.embedding[:1]] * 2), *shares).items()):
        add(name, np.asarray(value.numpy()))
    return digest.hexdigest()
