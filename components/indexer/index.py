"""What the servable is asked about: items and users as arrays, from the towers and the training events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from components.closed_forms.linear import Part, to_rows
from components.errors import InputError
from components.examples import context
from components.examples.catalogue import CATALOGUE_SPLIT, LISTED
from components.examples.reading import read_batches, scalars
from components.indexer.attributes import Attributes, read_attributes
from components.indexer.gather import Stored, gather, gather_rejected
from components.indexer.settings import Exclude, SimilarSettings
from components.indexer.similar import read_vectors
from components.indexer.towers import embed_catalogue, embed_ids, read_linear, read_manifest
from components.progress import progress


@dataclass(frozen=True)
class Index:
    """What the towers and the data come to: N items and U users as arrays."""

    item_ids: np.ndarray
    """[N] bytes, unique."""
    display: np.ndarray
    """[N] bytes."""
    embedding: np.ndarray
    """[N, D] float32."""
    bias: np.ndarray
    """[N] float32."""
    history_embedding: np.ndarray
    """[N, D] float32, what the items are embedded as in a history."""
    history_known: np.ndarray
    """[N] bool, whether training saw the item; no other counts in a history."""
    popularity: np.ndarray
    """[N] float32, training events of each item."""
    user_ids: np.ndarray
    """[U] bytes, unique: users of the training events."""
    user_embedding: np.ndarray
    """[U, D] float32, what the users' ids add to a query; [0, D] where the towers do without."""
    user_context: np.ndarray
    """[U] bytes: serialized Examples of the users' features, as of their newest training event."""
    history_values: np.ndarray
    """[V] int32, rows of items: all users' stored histories, one after the other, newest first."""
    history_splits: np.ndarray
    """[U + 1] int64: user u's history is `history_values[history_splits[u]:history_splits[u + 1]]`."""
    excluded: Stored | None = None
    """Items of the events whose types are left out; None where it doesn't go by types."""
    rejected: Stored | None = None
    """Items that the users rejected; None where the log has no negative events."""
    cooccurrence: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """[N, F] float32, vectors of what items come with; [0, 0] where similar items go by the embeddings alone."""
    linear: tuple[Part, ...] = ()
    """The linear part, for the N items."""
    attributes: Attributes = field(default_factory=Attributes)
    """What the items can be filtered by."""
    first: int = 0
    """Of a shard the row of the first of its M items. What items are in a history is there of all N, what they are as
    candidates (`display`, `embedding`, `bias`, `popularity`, `cooccurrence`, `linear`'s columns, `attributes`) of M."""

    @property
    def candidate_ids(self) -> np.ndarray:
        """[M] bytes: the items that can be answered, which are all N unless it is a shard."""
        return self.item_ids[self.first : self.first + len(self.embedding)]

    def shard(self, number: int, of: int) -> Index:
        """The index of one of `of` shards, `number` from 1: its items are a range of the rows."""
        count = len(self.item_ids)
        first, end = count * (number - 1) // of, count * number // of
        own = slice(first, end)
        return dataclasses.replace(
            self,
            display=self.display[own],
            embedding=self.embedding[own],
            bias=self.bias[own],
            popularity=self.popularity[own],
            cooccurrence=self.cooccurrence[own],
            linear=tuple(dataclasses.replace(part, weights=part.weights[:, own].tocsr()) for part in self.linear),
            attributes=self.attributes.among(first, end),
            first=first,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "first"}
        for name in ("excluded", "rejected"):
            stored = own.pop(name)
            own |= {} if stored is None else {f"{name}_values": stored.values, f"{name}_splits": stored.splits}
        for part in own.pop("linear"):
            weights = {"data": part.weights.data, "indices": part.weights.indices, "indptr": part.weights.indptr}
            arrays = {**weights, "places": part.places, "share": np.float32(part.share)}
            own |= {f"{part.name} {name}": value for name, value in arrays.items()}
        return own.pop("attributes").arrays() | own


def build_index(
    towers_dir: str,
    catalogue: str,
    interactions: str,
    stored_history: int,
    similar: SimilarSettings,
    filter_types: Mapping[str, str] | None = None,
    only_listed: bool = False,
    trained_catalogue: str = "",
    towers: Any = None,
    exclude: Exclude = "all",
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
        towers: The SavedModel, if it is loaded.
        exclude: What is left out of answers; of types of events their items are kept.

    Raises:
        InputError: The catalogue has no items, or none is left.
    """
    manifest = read_manifest(towers_dir)
    types = context.feature_types(manifest["context"])
    user_features = {name: types[name] for name in manifest["user_features"]}
    towers = towers or tf.saved_model.load(towers_dir)
    item_ids, display, embedding, bias = embed_catalogue(towers, catalogue)
    kept = items_kept(catalogue, item_ids, only_listed, trained_catalogue)
    item_ids, display, embedding, bias = item_ids[kept], display[kept], embedding[kept], bias[kept]
    in_history = embed_ids(towers, "history_item", item_ids)
    progress(f"{len(item_ids):,} items embedded; gathering histories")
    row_of = {item: row for row, item in enumerate(item_ids)}
    types_left_out = exclude if isinstance(exclude, tuple) else ()
    gathered = gather(interactions, row_of, stored_history, user_features, types_left_out)
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
        history_values=gathered.history.values,
        history_splits=gathered.history.splits,
        excluded=gathered.excluded,
        rejected=gather_rejected(interactions, row_of, gathered.user_ids, stored_history),
        cooccurrence=together,
        linear=_linear_part(towers_dir, row_of),
        attributes=read_attributes(catalogue, filter_types or {}, kept),
    )


def _linear_part(towers_dir: str, row_of: Mapping[bytes, int]) -> tuple[Part, ...]:
    """The linear part by the rows of the index."""
    parts, ids = read_linear(towers_dir)
    row = np.array([row_of.get(item, -1) for item in ids], np.int64)
    return tuple(to_rows(part, row, len(row_of)) for part in parts)


def items_kept(catalogue: str, item_ids: np.ndarray, only_listed: bool, trained_catalogue: str) -> np.ndarray:
    """Which of the catalogue's items [N] are answered with, bool [N]; see `build_index`.

    Raises:
        InputError: None is.
    """
    listed = _listed(catalogue)
    if only_listed:
        kept = listed
    elif trained_catalogue:
        before = [
            scalars(batch, "item_id") for batch in read_batches(trained_catalogue, CATALOGUE_SPLIT, {"item_id": bytes})
        ]
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
        [scalars(batch, LISTED, 0) > 0 for batch in read_batches(catalogue, CATALOGUE_SPLIT, {LISTED: int})]
    )
