"""What the Indexer asks of the Trainer's SavedModel."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from components.closed_forms.linear import FILE, Part, from_bytes
from components.errors import InputError
from components.examples.catalogue import CATALOGUE_SPLIT
from components.examples.reading import read_batches, scalars, split_files

TOWERS_MANIFEST = "towers.json"
_BATCH = 4_096


def read_manifest(towers_dir: str) -> dict[str, Any]:
    """What the Trainer noted: `context`, features that a request brings, `user_features`, the user's among them,
    `max_history`, the most items of a history, `candidates`, items that the ranker ranks, if there is one, and `tasks`,
    each with what it counts by default, `weight`, of 1 in all, if there are any."""
    with tf.io.gfile.GFile(os.path.join(towers_dir, "assets.extra", TOWERS_MANIFEST)) as file:
        return json.load(file)


def read_linear(towers_dir: str) -> tuple[tuple[Part, ...], list[bytes]]:
    """The linear part and the ids of its items; nothing where the Trainer found that it gains nothing."""
    path = os.path.join(towers_dir, "assets.extra", FILE)
    if not tf.io.gfile.exists(path):
        return (), []
    with tf.io.gfile.GFile(path, "rb") as file:
        return from_bytes(file.read())


def embed_catalogue(towers: Any, catalogue: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids [N], display texts [N], embeddings [N, D] and biases [N] of all items of the catalogue, by loaded towers."""
    candidate = towers.signatures["candidate"]
    files = split_files(catalogue, CATALOGUE_SPLIT)
    batches = [
        {name: value.numpy() for name, value in candidate(examples=records).items()}
        for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH)
    ]
    if not batches:
        raise InputError(f"{catalogue}: the catalogue has no items")
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    display = np.concatenate(
        [scalars(batch, "display", b"") for batch in read_batches(catalogue, CATALOGUE_SPLIT, {"display": bytes})]
    )
    return columns["item_id"], display, columns["embedding"], columns["bias"]


def embed_ids(towers: Any, signature: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    """What the loaded towers' `history_item` or `user` gives for ids [N], by name; ids must not be empty."""
    embed = towers.signatures[signature]
    batches = [embed(ids=tf.constant(ids[first : first + _BATCH].tolist())) for first in range(0, len(ids), _BATCH)]
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}
