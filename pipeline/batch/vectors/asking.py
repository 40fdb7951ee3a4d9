"""Asks a SavedModel's own signatures for vectors and lists, so that they are what the served model has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from components.errors import InputError
from pipeline.batch.vectors.files import Vectors
from serving import contract
from serving.custom_ops import import_custom_ops

_ASKED = 512
"""Users, or items, of a request."""
_BATCH = 16_384
"""Rows of a batch."""


class Lists(NamedTuple):
    """What is recommended to B users, best first."""

    item_ids: list[list[bytes]]
    """[B, k]; padding is empty."""
    scores: np.ndarray
    """[B, k] float32; -inf for padding."""


class Towers:
    """A loaded SavedModel.

    Args:
        model: The SavedModel's directory.
        fold_bias: Whether an item's vector ends with its bias, and a user's with 1.

    Raises:
        InputError: It gives no vectors.
    """

    def __init__(self, model: Path, fold_bias: bool) -> None:
        import_custom_ops(model)
        self._signatures = tf.saved_model.load(str(model)).signatures
        self._fold_bias = fold_bias
        if contract.EMBED_ITEMS not in self._signatures:
            raise InputError(
                f"{model}: gives no vectors: it was indexed before there were any; make a new version with "
                "`recommender reindex`, which trains nothing"
            )

    def items(self, ids: Iterator[bytes]) -> Iterator[Vectors]:
        """Vectors of items, in their order; an empty batch where there are none."""
        for batch in _batches(ids):
            parts = [self._items(batch[start : start + _ASKED]) for start in range(0, max(len(batch), 1), _ASKED)]
            vectors, bias = (np.concatenate(column) for column in zip(*parts))
            if self._fold_bias:
                yield Vectors(batch, np.concatenate([vectors, bias[:, np.newaxis]], axis=1), None)
            else:
                yield Vectors(batch, vectors, bias)

    def users(self, ids: Iterator[bytes]) -> Iterator[Vectors]:
        """Query vectors of users from what is stored of them, in their order; an empty batch where there are none."""
        for batch in _batches(ids):
            starts = range(0, max(len(batch), 1), _ASKED)
            vectors = np.concatenate([self._query(batch[start : start + _ASKED])[0] for start in starts])
            if self._fold_bias:
                vectors = np.pad(vectors, [[0, 0], [0, 1]], constant_values=1)
            yield Vectors(batch, vectors, None)

    def seen(self, user_ids: Sequence[bytes]) -> list[list[bytes]]:
        """Ids of the items that users [B] aren't recommended."""
        return [[item for item in row if item] for row in self._query(user_ids)[1].tolist()]

    def recommend(self, user_ids: Sequence[bytes], k: int) -> Lists:
        """The k best items of users [B]."""
        return self._lists(contract.RECOMMEND, user_ids, k)

    def retrieve(self, user_ids: Sequence[bytes], k: int) -> Lists:
        """The k best items of users [B], by the towers alone."""
        return self._lists(contract.RETRIEVE, user_ids, k, context=_texts([b""] * len(user_ids)))

    def _items(self, ids: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        answer = self._signatures[contract.EMBED_ITEMS](item_id=_texts(ids))
        return answer[contract.EMBEDDING].numpy(), answer[contract.BIAS].numpy()

    def _query(self, user_ids: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        who = {contract.USER_ID: _texts(user_ids), contract.HISTORY: _nothing(user_ids)}
        answer = self._signatures[contract.EMBED_QUERIES](**who, context=_texts([b""] * len(user_ids)))
        return answer[contract.EMBEDDING].numpy(), answer[contract.SEEN].numpy()

    def _lists(self, signature: str, user_ids: Sequence[bytes], k: int, **more: tf.Tensor) -> Lists:
        nothing = _nothing(user_ids)
        who = {contract.USER_ID: _texts(user_ids), contract.HISTORY: nothing, contract.EXCLUDE: nothing}
        answer = self._signatures[signature](**who, k=tf.constant(k), **more)
        scores = answer[contract.SCORES].numpy()
        scores = np.where(scores <= contract.NO_SCORE, -np.inf, scores)
        return Lists(answer[contract.ITEM_IDS].numpy().tolist(), scores)


def ids_of(file: Path) -> Iterator[bytes]:
    """The ids in a file of the SavedModel's assets, one a line; none in an empty file."""
    with open(file, "rb") as lines:
        for line in lines:
            yield line.rstrip(b"\n")


def _batches(ids: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The ids in batches; of none an empty one, which tells a vector's width."""
    batch = list(islice(ids, _BATCH))
    yield batch
    while batch := list(islice(ids, _BATCH)):
        yield batch


def _texts(values: Sequence[bytes]) -> tf.Tensor:
    return tf.constant(list(values), tf.string, [len(values)])


def _nothing(user_ids: Sequence[bytes]) -> tf.Tensor:
    return tf.zeros([len(user_ids), 0], tf.string)
