"""Asks a SavedModel's own signatures, so that an answer is what the served model answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from components.errors import InputError
from pipeline.batch.answers import Answers, Items, Wish
from serving import contract
from serving.custom_ops import import_custom_ops

_SCORES = 1 << 25
"""Scores that a request may take at a time: 128 MiB."""
_SCORES_OF_TEXT = 8
"""How many scores take the memory of an id in a rule."""
_DESCRIBED = 65_536


class Recommender:
    """A loaded SavedModel, which any thread may ask.

    Args:
        model: The SavedModel's directory.
    """

    def __init__(self, model: Path) -> None:
        import_custom_ops(model)
        self._model = tf.saved_model.load(str(model))
        file = model / contract.ITEMS
        self._row_of = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            default_value=-1,
        )
        ids = file.read_bytes().split(b"\n")
        self.items = Items(pa.array(ids, pa.string()), self._titles(ids))
        self.most = 512
        """Users that a request asks for at most; more are no quicker."""

    def answer(self, queries: pa.Table, wish: Wish) -> Answers:
        """Answers queries, see `pipeline.batch.queries.SCHEMA`.

        Raises:
            InputError: The model lacks the signature that the wish needs, or refuses its rules.
        """
        width = len(self.items.ids) + _SCORES_OF_TEXT * (len(wish.allow) + len(wish.exclude))
        size = max(1, min(self.most, _SCORES // width))
        parts = [self._ask(queries.slice(start, size), wish) for start in range(0, queries.num_rows, size)]
        rows, scores, sources = (np.concatenate(column) for column in zip(*parts))
        return Answers(queries["user_id"].combine_chunks(), rows, scores, pa.array(sources, pa.string()))

    def _ask(self, queries: pa.Table, wish: Wish) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, scores and sources for a request's queries."""
        user_id, history, exclude, context = (column.combine_chunks() for column in queries.columns)
        count = queries.num_rows
        signature = contract.RECOMMEND
        inputs: dict[str, tf.Tensor] = {
            contract.USER_ID: _strings(user_id),
            contract.HISTORY: padded(history),
            contract.EXCLUDE: tf.concat([padded(exclude), _repeated(wish.exclude, count)], axis=1),
            contract.K: tf.constant(wish.k),
        }
        if wish.ruled or pc.max(pc.binary_length(context)).as_py():
            signature = contract.RECOMMEND_IN_CONTEXT
            inputs[contract.CONTEXT] = _strings(context)
        if wish.ruled:
            signature = contract.RECOMMEND_WITH_RULES
            diversity = contract.AS_CONFIGURED if wish.diversity is None else float(wish.diversity)
            boost_by = tf.constant([[by for _, by in wish.boosts]], tf.float32, [1, len(wish.boosts)])
            inputs |= {
                contract.ALLOW: _repeated(wish.allow, count),
                contract.FILTER: _repeated(wish.filters, count),
                contract.BOOST: _repeated([condition for condition, _ in wish.boosts], count),
                contract.BOOST_BY: tf.repeat(boost_by, count, axis=0),
                contract.DIVERSITY: tf.fill([count], diversity),
            }
        if signature not in self._model.signatures:
            raise InputError(f"the model has no signature {signature!r}: make a new one with `recommender run`")
        try:
            answer = self._model.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"the model refuses the request: {refusal(error.message)}") from None
        rows = tf.cast(self._row_of.lookup(answer[contract.ITEM_IDS]), tf.int32)
        return rows.numpy(), answer[contract.SCORES].numpy(), answer[contract.SOURCE].numpy()

    def _titles(self, ids: list[bytes]) -> pa.StringArray:
        describe = self._model.signatures[contract.DESCRIBE]
        starts = range(0, len(ids), _DESCRIBED)
        titles: list[Any] = []
        for start in starts:
            titles += describe(item_id=tf.constant(ids[start : start + _DESCRIBED]))[contract.DISPLAY].numpy().tolist()
        return pa.array(titles, pa.string())


def padded(lists: pa.ListArray) -> tf.Tensor:
    """Returns lists of texts [B] as a matrix [B, W] padded with the empty string, W the length of the longest."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return tf.RaggedTensor.from_row_lengths(_strings(lists.flatten()), lengths.astype(np.int64)).to_tensor("")


def refusal(message: str) -> str:
    """Returns what an assertion of the graph says, without where in the graph it stands."""
    found = re.search(r"assertion failed: (.*)", message, re.DOTALL)
    text = re.sub(r"\s*\[\[\{\{node.*", "", found[1] if found else message, flags=re.DOTALL)
    return " ".join(re.sub(r"\[([^\[\]]*)\]", r"\1", text).split())


def _strings(values: pa.Array) -> tf.Tensor:
    return tf.constant(values.to_numpy(zero_copy_only=False), tf.string, [len(values)])


def _repeated(texts: Sequence[str], count: int) -> tf.Tensor:
    """The same texts for each of the users: [count, len(texts)]."""
    return tf.repeat(tf.constant([list(texts)], tf.string, [1, len(texts)]), count, axis=0)
