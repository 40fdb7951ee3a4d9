"""The Indexer's executor and the functions under it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.catalogue_gen.catalogue import LISTED
from components.errors import InputError
from components.examples import context
from components.examples.reading import read_batches, scalars, split_files
from components.indexer import measure
from components.indexer.gather import gather
from components.indexer.measure import Query, read_queries
from components.indexer.rules import read_attributes
from components.indexer.servable import Index, Servable
from components.indexer.settings import IndexerSettings, IndexSettings, SimilarSettings
from components.indexer.similar import read_vectors
from components.progress import progress
from serving import contract

TOWERS_MANIFEST = "towers.json"
CATALOGUE = "catalogue"
"""The catalogue's split."""
_BATCH = 4_096
_DTYPES = {contract.K: tf.int32, contract.BOOST_BY: tf.float32, contract.DIVERSITY: tf.float32}
"""Types of the inputs that are no texts."""


class Executor(base_executor.BaseExecutor):
    """Writes the servable."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Embeds the catalogue, gathers histories and popularity, and saves the lot."""
        settings = IndexerSettings.model_validate_json(exec_properties["settings"])
        towers_dir = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["towers"]))
        index = build_index(
            towers_dir,
            artifact_utils.get_single_uri(input_dict["catalogue"]),
            artifact_utils.get_single_uri(input_dict["interactions"]),
            settings.stored_history,
            settings.similar,
            json.loads(exec_properties["filter_types"]),
            settings.only_listed,
            exec_properties.get("trained_catalogue") or "",
        )
        output = artifact_utils.get_single_instance(output_dict["model"])
        manifest = save_servable(
            towers_dir,
            index,
            settings,
            exec_properties["model_name"],
            path_utils.serving_model_dir(output.uri),
            read_queries(artifact_utils.get_single_uri(input_dict["interactions"]), settings.index.queries),
        )
        output.set_string_custom_property("fingerprint", manifest["fingerprint"])
        output.set_string_custom_property(
            "summary",
            f"{manifest['num_items']:,} items x {manifest['dim']}, {manifest['num_users']:,} users with histories, "
            f"fingerprint {manifest['fingerprint'][:12]}{_shown(manifest['index'])}",
        )
        for name, value in manifest["index"].items():
            if isinstance(value, float):
                output.set_float_custom_property(f"index_{name}", value)


def _shown(index: Mapping[str, Any]) -> str:
    """What the terminal says of an approximate index."""
    if "recall" not in index:
        return ""
    return (
        f"; {index['type']}: recall@{index['k']} {index['recall']:.3f} on {index['queries']:,} queries, "
        f"p50 {index['latency_ms']:.1f} ms (exact {index['exact_latency_ms']:.1f} ms)"
    )


def build_index(
    towers_dir: str,
    catalogue: str,
    interactions: str,
    stored_history: int,
    similar: SimilarSettings,
    filter_types: Mapping[str, str] | None = None,
    only_listed: bool = False,
    trained_catalogue: str = "",
) -> Index:
    """Embeds the catalogue's items and gathers what the training events say of items and users.

    Events of items that are left out count for nothing.

    Args:
        towers_dir: The Trainer's SavedModel.
        catalogue: URI of the catalogue's Examples.
        interactions: URI of the events' Examples; only the split `train` is read.
        stored_history: Newest distinct items kept of each user.
        similar: What similar items go by.
        filter_types: Types of the catalogue's features by which requests can filter.
        only_listed: Whether items that only the log has are left out.
        trained_catalogue: URI of the Examples of another catalogue: what it lists and `catalogue` doesn't is left out.

    Raises:
        InputError: The catalogue has no items, or none is left.
    """
    manifest = read_manifest(towers_dir)
    types = context.feature_types(manifest["context"])
    user_features = {name: types[name] for name in manifest["user_features"]}
    towers = tf.saved_model.load(towers_dir)
    item_ids, display, embedding, bias = embed_catalogue(towers, catalogue)
    kept = items_kept(catalogue, item_ids, only_listed, trained_catalogue)
    item_ids, display, embedding, bias = item_ids[kept], display[kept], embedding[kept], bias[kept]
    in_history = embed_ids(towers, "history_item", item_ids)
    progress(f"{len(item_ids):,} items embedded; gathering histories")
    row_of = {item: row for row, item in enumerate(item_ids)}
    gathered = gather(interactions, row_of, stored_history, user_features)
    of_users = embed_ids(towers, "user", gathered.user_ids)["embedding"]
    together = np.zeros((0, 0), np.float32)
    if similar.method == "co_occurrence":
        progress("counting which items come together")
        together = read_vectors(interactions, row_of, similar, int(gathered.events.sum()))
    return Index(
        item_ids=item_ids,
        display=display,
        embedding=embedding,
        bias=bias,
        history_embedding=in_history["embedding"],
        history_known=in_history["known"],
        popularity=gathered.events.astype(np.float32),
        user_ids=gathered.user_ids,
        user_embedding=of_users if of_users.any() else of_users[:0],
        user_context=gathered.contexts,
        history_values=gathered.values.astype(np.int32),
        history_splits=gathered.splits,
        cooccurrence=together,
        attributes=read_attributes(catalogue, filter_types or {}, kept),
    )


def items_kept(catalogue: str, item_ids: np.ndarray, only_listed: bool, trained_catalogue: str) -> np.ndarray:
    """Which of the catalogue's items [N] are answered with, bool [N]; see `build_index`.

    Raises:
        InputError: None is.
    """
    listed = _listed(catalogue)
    if only_listed:
        kept = listed
    elif trained_catalogue:
        before = [scalars(batch, "item_id") for batch in read_batches(trained_catalogue, CATALOGUE, {"item_id": bytes})]
        gone = set(np.concatenate(before)[_listed(trained_catalogue)].tolist())
        kept = listed | ~np.array([item in gone for item in item_ids.tolist()], bool)
    else:
        kept = np.ones(len(item_ids), bool)
    if not kept.any():
        raise InputError("no item is left: the catalogue lists none of them; see serving.only_listed")
    return kept


def _listed(catalogue: str) -> np.ndarray:
    """Which of a catalogue's items [N] its files list, bool [N]."""
    return np.concatenate(
        [scalars(batch, LISTED, 0) > 0 for batch in read_batches(catalogue, CATALOGUE, {LISTED: int})]
    )


def read_manifest(towers_dir: str) -> dict[str, Any]:
    """What the Trainer noted: `context`, features that a request brings, `user_features`, the user's among them,
    `max_history`, the most items of a history, and `candidates`, items that the ranker ranks, if there is one."""
    with tf.io.gfile.GFile(os.path.join(towers_dir, "assets.extra", TOWERS_MANIFEST)) as file:
        return json.load(file)


def embed_catalogue(towers: Any, catalogue: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids [N], display texts [N], embeddings [N, D] and biases [N] of all items of the catalogue, by loaded towers."""
    candidate = towers.signatures["candidate"]
    files = split_files(catalogue, CATALOGUE)
    batches = [
        {name: value.numpy() for name, value in candidate(examples=records).items()}
        for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH)
    ]
    if not batches:
        raise InputError(f"{catalogue}: the catalogue has no items")
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    display = np.concatenate(
        [scalars(batch, "display", b"") for batch in read_batches(catalogue, CATALOGUE, {"display": bytes})]
    )
    return columns["item_id"], display, columns["embedding"], columns["bias"]


def embed_ids(towers: Any, signature: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    """What the loaded towers' `history_item` or `user` gives for ids [N], by name; ids must not be empty."""
    embed = towers.signatures[signature]
    batches = [embed(ids=tf.constant(ids[first : first + _BATCH].tolist())) for first in range(0, len(ids), _BATCH)]
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}


def fingerprint(towers_dir: str, index: Index, settings: IndexerSettings) -> str:
    """A digest of all that decides an answer, so that equal models are known as equal.

    The files of a SavedModel differ from one export to the next even where nothing else does, so what is digested is
    the index, the towers' weights and vocabularies, and a probe of the query tower, which tells graphs apart.
    """
    # The bounds of an approximate index decide whether it is made, not what it answers.
    bounds = {"min_recall", "recall_at", "max_latency_ms", "queries"}
    digest = hashlib.sha256(settings.model_dump_json(exclude={"index": bounds}).encode())

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
    if "candidates" in read_manifest(towers_dir):
        digest.update(f"candidates {read_manifest(towers_dir)['candidates']}".encode())
    items = index.history_embedding[: min(8, read_manifest(towers_dir)["max_history"])]
    part = tf.saved_model.load(towers_dir).query_part
    query = part.combine(
        tf.constant([items, items]),
        tf.constant([[True] * len(items), [False] * len(items)]),
        tf.zeros([2, items.shape[1]]),
        tf.constant([[*(index.user_context[:1].tolist() or [b""]), b""], [b"", b""]]),
    )
    add("probe", query.numpy())
    return digest.hexdigest()


def save_servable(
    towers_dir: str,
    index: Index,
    settings: IndexerSettings,
    model_name: str,
    directory: str,
    queries: Sequence[Query] = (),
) -> dict[str, Any]:
    """Writes the SavedModel, its manifest and its warm-up requests to `directory`; returns the manifest.

    Args:
        towers_dir: The Trainer's SavedModel.
        index: What the servable is asked about.
        settings: How it answers and is stored.
        model_name: The name under which it will be served.
        directory: Where to.
        queries: What an approximate index is measured on.

    Raises:
        InputError: An approximate index can't be had, or is outside of the settings' bounds.
    """
    towers = tf.saved_model.load(towers_dir)
    noted = read_manifest(towers_dir)
    listed = noted["context"]
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        listed_ids = {"items": index.item_ids, "users": index.user_ids, "conditions": index.attributes.conditions}
        for name, ids in listed_ids.items():
            files[name] = os.path.join(scratch, f"{name}.txt")
            # Bytes as they are: ids hold no line breaks, and a newline after the last one would make an empty id.
            Path(files[name]).write_bytes(b"\n".join(ids.tolist()))
        servable = Servable(
            towers.query_part,
            noted["max_history"],
            index,
            files,
            settings,
            in_context=bool(listed),
            ranking=(towers.ranking_part, noted["candidates"]) if "candidates" in noted else None,
        )
        found: dict[str, Any] = {"type": settings.index.type}
        if settings.index.type != "exact" and queries:
            measured = _measured(servable, queries, settings.index)
            measure.check(measured, settings.index)
            found |= {**measured._asdict(), "min_recall": settings.index.min_recall}
        tf.saved_model.save(servable, directory, signatures=servable.signatures())
    manifest = {
        contract.FORMAT_KEY: contract.FORMAT,
        "model_name": model_name,
        "fingerprint": fingerprint(towers_dir, index, settings),
        "num_items": len(index.item_ids),
        "num_users": len(index.user_ids),
        "dim": int(index.embedding.shape[1]),
        "default_k": settings.default_k,
        "max_k": servable.max_k,
        "context": listed,
        "index": found,
        "filters": {
            **dict.fromkeys(index.attributes.categories, "category"),
            **dict.fromkeys(index.attributes.numbers, "number"),
        },
    }
    path = os.path.join(directory, contract.MANIFEST)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(manifest, file, indent=2)
    write_warmup(index, model_name, settings.default_k, bool(listed), os.path.join(directory, contract.WARMUP))
    return manifest


def _measured(servable: Servable, queries: Sequence[Query], settings: IndexSettings) -> measure.Measurement:
    k = min(settings.recall_at, servable.max_k)
    strings = [tf.TensorSpec(shape, tf.string) for shape in ([None], [None, None], [None, None])]

    def asker(recommend: Any) -> measure.Ask:
        def ask(query: Query) -> np.ndarray:
            lists = [tf.constant([values], tf.string, [1, len(values)]) for values in (query.history, query.exclude)]
            return recommend(tf.constant([query.user_id]), *lists, tf.constant(k))[contract.ITEM_IDS].numpy()[0]

        return ask

    progress(f"measuring the {settings.type} index on {len(queries):,} queries")
    exact = tf.function(servable.recommend_exactly, [*strings, tf.TensorSpec([], tf.int32)], autograph=False)
    return measure.measure(asker(servable.recommend), asker(exact), queries, k)


def write_warmup(index: Index, model_name: str, default_k: int, in_context: bool, path: str) -> None:
    """Writes a PredictionLog for each signature and kind of user, so that no real request meets a cold graph."""
    item, user = index.item_ids[:1].tolist(), index.user_ids[:1].tolist() or [b""]
    none = np.full((1, 0), b"", object)
    values: dict[str, Any] = {
        contract.USER_ID: user,
        contract.HISTORY: none,
        contract.EXCLUDE: none,
        contract.K: np.int32(default_k),
        contract.CONTEXT: index.user_context[:1].tolist() or [b""],
        contract.ALLOW: [item],
        contract.FILTER: none,
        contract.BOOST: none,
        contract.BOOST_BY: none,
        contract.DIVERSITY: [0.5],
        contract.ITEM_ID: item,
        contract.CANDIDATES: [item],
        contract.EXAMPLES: [tf.train.Example().SerializeToString()],
    }
    signatures = [name for name in contract.SIGNATURES if in_context or name not in contract.IN_CONTEXT]
    requests = [(name, {key: values[key] for key in contract.SIGNATURES[name].inputs}) for name in signatures]
    nobody = {**dict(requests)[contract.RECOMMEND], contract.USER_ID: [b""]}
    requests.append((contract.RECOMMEND, nobody))
    requests.append((contract.RECOMMEND, {**nobody, contract.HISTORY: [item], contract.EXCLUDE: [item]}))
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype=_DTYPES.get(name, tf.string)))
            writer.write(log.SerializeToString())
