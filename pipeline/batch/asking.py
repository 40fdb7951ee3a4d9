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
from pipeline.batch.answers import Answers, Wish
from serving import contract
from serving.custom_ops import import_custom_ops

_SCORES = 1 << 25
"""Scores that a request may take at a time: 128 MiB."""
_SCORES_OF_TEXT = 8
"""How many scores take the memory of an id in a rule."""
_DESCRIBED = 65_536


class _Asker:
    """A loaded SavedModel, which any thread may ask for lists of what stands in one of its files.

    Args:
        model: The SavedModel's directory.
        listed: The file with the ids of what is found, one a line.
    """

    def __init__(self, model: Path, listed: str) -> None:
        import_custom_ops(model)
        self._model = tf.saved_model.load(str(model))
        file = model / listed
        self._row_of = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            default_value=-1,
        )
        self._ids = pa.array(file.read_bytes().split(b"\n"), pa.string())
        self.most = 512
        """Rows that a request has at most; more are no quicker."""

    def _size(self, wish: Wish) -> int:
        """How many rows a request has."""
        width = len(self._ids) + _SCORES_OF_TEXT * (len(wish.allow) + len(wish.exclude))
        return max(1, min(self.most, _SCORES // width))

    def _call(self, signature: str, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What a signature answers.

        Raises:
            InputError: The model lacks it, or refuses the request.
        """
        if signature not in self._model.signatures:
            raise InputError(f"the model has no signature {signature!r}: make a new one with `recommender run`")
        try:
            return self._model.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"the model refuses the request: {refusal(error.message)}") from None

    def _rows(self, ids: tf.Tensor) -> np.ndarray:
        """Rows of ids, int32."""
        return tf.cast(self._row_of.lookup(ids), tf.int32).numpy()

    def _titles(self, ids: pa.StringArray) -> pa.StringArray:
        """What a person is shown of items."""
        describe = self._model.signatures[contract.DESCRIBE]
        titles: list[Any] = []
        for start in range(0, len(ids), _DESCRIBED):
            asked = _strings(ids.slice(start, _DESCRIBED))
            titles += describe(item_id=asked)[contract.DISPLAY].numpy().tolist()
        return pa.array(titles, pa.string())


class Audiences(_Asker):
    """Asks for the best users of items."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, contract.USERS)
        self.found = {"user_id": self._ids}

    def answer(self, queries: pa.Table, wish: Wish) -> Answers:
        """Answers queries, see `pipeline.batch.queries.ITEM_SCHEMA`.

        Raises:
            InputError: The model says nothing of users, or refuses the wish's rules.
        """
        items, size = queries["item_id"].combine_chunks(), self._size(wish)
        parts = [self._ask(items.slice(start, size), wish) for start in range(0, len(items), size)]
        rows, scores = (np.concatenate(column) for column in zip(*parts))
        return Answers({"item_id": items, "title": self._titles(items)}, rows, scores)

    def _ask(self, items: pa.StringArray, wish: Wish) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores for a request's items."""
        count = len(items)
        inputs = {
            contract.ITEM_ID: _strings(items),
            contract.EXCLUDE: _repeated(wish.exclude, count),
            contract.EXCLUDE_OWNERS: tf.fill([count], wish.exclude_owners),
            contract.K: tf.constant(wish.k),
        }
        if wish.ruled:
            inputs |= {
                contract.ALLOW: _repeated(wish.allow, count),
                contract.FILTER: _repeated(wish.filters, count),
            }
        answer = self._call(contract.AUDIENCE_WITH_RULES if wish.ruled else contract.AUDIENCE, inputs)
        return self._rows(answer[contract.USER_IDS]), answer[contract.SCORES].numpy()


class Recommender(_Asker):
    """Asks for the best items of users."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, contract.ITEMS)
        self.found = {"item_id": self._ids, "title": self._titles(self._ids)}

    def answer(self, queries: pa.Table, wish: Wish) -> Answers:
        """Answers queries, see `pipeline.batch.queries.SCHEMA`.

        Raises:
            InputError: The model lacks the signature that the wish needs, or refuses its rules.
        """
        size = self._size(wish)
        parts = [self._ask(queries.slice(start, size), wish) for start in range(0, queries.num_rows, size)]
        rows, scores, sources = (np.concatenate(column) for column in zip(*parts))
        asked = {"user_id": queries["user_id"].combine_chunks()}
        return Answers(asked, rows, scores, pa.array(sources, pa.string()))

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
        if wish.tasks and contract.RECOMMEND_FOR_TASKS not in self._model.signatures:
            raise InputError("the model has no tasks (model.tasks): leave out --task")
        full = wish.ruled or wish.tasks or wish.leave_out
        if full or pc.max(pc.binary_length(context)).as_py():
            signature = contract.RECOMMEND_IN_CONTEXT
            inputs[contract.CONTEXT] = _strings(context)
        if full:
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
        if wish.tasks or wish.leave_out:
            signature = contract.RECOMMEND_FOR_TASKS
            weights = tf.constant([[weight for _, weight in wish.tasks]], tf.float32, [1, len(wish.tasks)])
            inputs[contract.TASKS] = _repeated([name for name, _ in wish.tasks], count)
            inputs[contract.TASK_WEIGHTS] = tf.repeat(weights, count, axis=0)
        if wish.leave_out:
            signature = contract.RECOMMEND_LEAVING_OUT
            inputs[contract.LEAVE_OUT] = tf.fill([count], wish.leave_out)
        answer = self._call(signature, inputs)
        return self._rows(answer[contract.ITEM_IDS]), answer[contract.SCORES].numpy(), answer[contract.SOURCE].numpy()


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
