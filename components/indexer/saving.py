"""Writes the servable: the SavedModel, what it says of itself, and its warm-up requests."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components import saved_model
from components.errors import InputError
from components.indexer import measure
from components.indexer.attributes import Attributes, user_attributes
from components.indexer.fingerprint import fingerprint
from components.indexer.index import Index
from components.indexer.measure import Query
from components.indexer.settings import IndexerSettings, IndexSettings
from components.indexer.signatures import Servable
from components.indexer.towers import read_manifest
from components.indexer.warmup import write_warmup
from components.progress import progress
from serving import contract


def save_servable(
    towers_dir: str,
    index: Index,
    settings: IndexerSettings,
    model_name: str,
    directory: str,
    queries: Sequence[Query] = (),
    code: str = "",
    towers: Any = None,
    shard: contract.Shard | None = None,
) -> dict[str, Any]:
    """Writes the SavedModel, its manifest and its warm-up requests to `directory`; returns the manifest.

    Args:
        towers_dir: The Trainer's SavedModel.
        index: What the servable is asked about.
        settings: How it answers and is stored.
        model_name: The name under which it will be served.
        directory: Where to.
        queries: What an approximate index is measured on.
        code: A digest of the code that does this, for the fingerprint.
        towers: The Trainer's SavedModel, if it is loaded.
        shard: Which shard it is, if the index is that of one.

    Raises:
        InputError: An approximate index can't be had, or is outside of the settings' bounds, or the towers are of an
            older version.
    """
    noted = read_manifest(towers_dir)
    in_context = bool(noted["context"])
    towers = towers or tf.saved_model.load(towers_dir)
    with tempfile.TemporaryDirectory() as scratch:
        servable = make_servable(towers_dir, index, settings, scratch, towers, str(shard or ""))
        found = _measured(servable, queries, settings.index)
        saved_model.save(servable, directory, servable.signatures())
    manifest = {
        contract.FORMAT_KEY: contract.FORMAT,
        "model_name": model_name,
        "fingerprint": fingerprint(towers_dir, index, settings, code, towers),
        **({contract.SHARD: str(shard)} if shard else {}),
        "num_items": len(index.embedding),
        "num_users": len(index.user_ids),
        "dim": int(index.embedding.shape[1]),
        "default_k": settings.default_k,
        "max_k": servable.max_k,
        "context": noted["context"],
        "index": found,
        contract.BEYOND_VECTORS: servable.beyond_vectors,
        "max_k_of_users": servable.max_k_of_users,
        contract.EXCLUDE: settings.exclude,
        **({contract.TASKS: noted["tasks"]} if "tasks" in noted else {}),
        "filters": {
            **dict.fromkeys(index.attributes.categories, "category"),
            **dict.fromkeys(index.attributes.numbers, "number"),
        },
    }
    _write_manifest(manifest, directory)
    signatures = contract.signatures(in_context, settings.audience, "tasks" in noted)
    write_warmup(index, model_name, settings.default_k, signatures, os.path.join(directory, contract.WARMUP))
    return manifest


def _write_manifest(manifest: dict[str, Any], directory: str) -> None:
    path = os.path.join(directory, contract.MANIFEST)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(manifest, file, indent=2)


def make_servable(
    towers_dir: str, index: Index, settings: IndexerSettings, folder: str, towers: Any = None, shard: str = ""
) -> Servable:
    """Puts the servable together; what it looks up is in files in `folder`, which must stay until it is saved.

    The other arguments are those of `save_servable`.

    Raises:
        InputError: An approximate index can't be had, or the towers are of an older version.
    """
    towers = towers or tf.saved_model.load(towers_dir)
    noted = read_manifest(towers_dir)
    if not hasattr(towers.query_part, "explain"):
        raise InputError(f"{towers_dir}: the Trainer that made it was of an older version: run the Trainer again")
    of_users = Attributes()
    if settings.audience:
        types = {each["name"]: each["type"] for each in noted["context"] if each["name"] in noted["user_features"]}
        of_users = user_attributes(index.user_context, types)
    return Servable(
        towers.query_part,
        noted["max_history"],
        index,
        _write_lists(index, of_users, folder),
        settings,
        in_context=bool(noted["context"]),
        ranking=(towers.ranking_part, noted["candidates"]) if "candidates" in noted else None,
        user_attributes=of_users,
        tasks={each["name"]: each["weight"] for each in noted.get("tasks", ())},
        shard=shard,
    )


def _write_lists(index: Index, of_users: Attributes, folder: str) -> dict[str, str]:
    """Writes what the servable looks up, one a line, to files in `folder`; returns their paths by name."""
    lists = {
        "items": index.item_ids,
        "users": index.user_ids,
        "conditions": index.attributes.conditions,
        "user_conditions": of_users.conditions,
    }
    files = {name: os.path.join(folder, f"{name}.txt") for name in lists}
    for name, ids in lists.items():
        # Bytes as they are: ids hold no line breaks, and a newline after the last one would make an empty id.
        Path(files[name]).write_bytes(b"\n".join(ids.tolist()))
    return files


def _measured(servable: Servable, queries: Sequence[Query], settings: IndexSettings) -> dict[str, Any]:
    """What the manifest says of the index: its type, and of an approximate one how it did on the queries, if any."""
    if settings.type == "exact" or not queries:
        return {"type": settings.type}
    k = min(settings.recall_at, servable.max_k)
    strings = [tf.TensorSpec(shape, tf.string) for shape in ([None], [None, None], [None, None])]

    def asker(recommend: Any) -> measure.Ask:
        def ask(query: Query) -> np.ndarray:
            lists = [tf.constant([values], tf.string, [1, len(values)]) for values in (query.history, query.exclude)]
            return recommend(tf.constant([query.user_id]), *lists, tf.constant(k))[contract.ITEM_IDS].numpy()[0]

        return ask

    progress(f"measuring the {settings.type} index on {len(queries):,} queries")
    exact = tf.function(servable.recommend_exactly, [*strings, tf.TensorSpec([], tf.int32)], autograph=False)
    measured = measure.measure(asker(servable.recommend), asker(exact), queries, k)
    measure.check(measured, settings)
    return {"type": settings.type, **measured._asdict(), "min_recall": settings.min_recall}
