"""Rules of a request, kept inside the graph: allow-lists, filters, boosts and diversity, exactly and in native ops.

A condition is a text: `name=value` for a feature of one or several categories, `name=number`, `name<=number` or
`name>=number` for a number. The values are those of the catalogue, not the towers' vocabularies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from components.indexer.attributes import ESCAPES, Attributes
from serving.contract import AS_CONFIGURED

_OPERATORS = ("=", "<=", ">=")
_CONDITION = r"(?s)^([A-Za-z][A-Za-z0-9_]*(?:<=|>=|=))(.*)$"
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_FREQUENT = 16
"""A condition that more than one item in so many fulfils is kept as a column, see `_split`."""


class Request(NamedTuple):
    """The rules of B requests."""

    allow: tf.Tensor
    """[B, A] string: if any is given, no other items are answered."""
    filter: tf.Tensor
    """[B, F] string, conditions: those of one name are alternatives, all names must be fulfilled."""
    boost: tf.Tensor
    """[B, G] string, conditions."""
    boost_by: tf.Tensor
    """[B, G] float32, added to the scores of the items that fulfil the condition."""
    diversity: tf.Tensor
    """[B] float32, from 0 (off) to 1, or `AS_CONFIGURED`."""


class Rules(tf.Module):
    """Applies the rules of requests to the scores of all rows of the index.

    Args:
        attributes: What items can be filtered by.
        codes: A lookup table from `attributes.conditions` to their place there.
        num_rows: R, rows of the index, of which the first N are the items.
        named: Where the attributes are named, for messages.
    """

    def __init__(
        self, attributes: Attributes, codes: Any, num_rows: int, named: str = "serving.filters in the config"
    ) -> None:
        super().__init__()
        self._named = named
        self._categories, self._numbers = attributes.categories, attributes.numbers
        self._codes = codes
        self._num_rows = num_rows
        conditions = _split(attributes, num_rows)
        self._splits = tf.Variable(conditions.splits, trainable=False, name="condition_splits")
        # A gather needs one row at least.
        rows = conditions.rows if len(conditions.rows) else np.zeros(1, np.int32)
        self._rows = tf.Variable(rows, trainable=False, name="condition_rows")
        self._columns = None
        if len(conditions.columns):
            self._columns = tf.Variable(conditions.columns, trainable=False, name="condition_columns")
            self._column_of = tf.Variable(conditions.column_of, trainable=False, name="condition_column_of")
        spare = [[0, 0], [0, num_rows - attributes.amounts.shape[1]]]
        amounts = np.pad(attributes.amounts, spare, constant_values=np.nan)
        self._amounts = tf.Variable(amounts, trainable=False, name="amounts")
        self._keys = [f"{name}=" for name in self._categories]
        self._number_keys = [name + operator for name in self._numbers for operator in _OPERATORS]

    def refused(self, request: Request) -> tf.Tensor:
        """Which of the requests [B] have a mistake."""
        return tf.reduce_any(tf.concat([wrong for wrong, _, _ in self._mistakes(request)], axis=1), axis=1)

    def checked(self, request: Request) -> Request:
        """The requests, if none of them has a mistake."""
        checks = [
            tf.debugging.Assert(~tf.reduce_any(wrong), [mistake, tf.boolean_mask(values, wrong)], summarize=10)
            for wrong, mistake, values in self._mistakes(request)
        ]
        same = tf.debugging.assert_equal(
            tf.shape(request.boost), tf.shape(request.boost_by), "boost and boost_by must have the same shape"
        )
        with tf.control_dependencies([same, *checks]):
            return Request(*(tf.identity(value) for value in request))

    def _mistakes(self, request: Request) -> list[tuple[tf.Tensor, str, tf.Tensor]]:
        """Of each kind of mistake which values have it, [B, …], what to say, and the values."""
        can = (
            f"NAME=VALUE with NAME one of: {', '.join(self._categories) or 'none'}; or NAME=NUMBER, NAME<=NUMBER or"
            f" NAME>=NUMBER with one of: {', '.join(self._numbers) or 'none'} ({self._named}); not"
        )
        diversity = request.diversity[:, tf.newaxis]
        return [
            (self._unreadable(request.filter), f"filter is {can}", request.filter),
            (self._unreadable(request.boost), f"boost is {can}", request.boost),
            (~tf.math.is_finite(request.boost_by), "boost_by must be finite, not", request.boost_by),
            (
                ~((diversity >= 0) & (diversity <= 1) | (diversity == AS_CONFIGURED)),
                "diversity is from 0 to 1, not",
                diversity,
            ),
        ]

    def _unreadable(self, conditions: tf.Tensor) -> tf.Tensor:
        key, value = _parsed(conditions)
        numeric = _among(key, self._number_keys) & tf.strings.regex_full_match(value, _NUMBER)
        return (conditions != "") & ~_among(key, self._keys) & ~numeric

    def apply(self, scores: tf.Tensor, request: Request, allowed: tf.Tensor) -> tf.Tensor:
        """Scores [B, R] with their boosts, and -inf for what the request's filters and allow-list leave out.

        Args:
            scores: [B, R].
            request: Of the same B requests.
            allowed: [B, A] int64, rows of the items of `request.allow`, -1 for unknown ones.
        """

        def in_list() -> tf.Tensor:
            place = tf.where(allowed >= 0)
            cells = tf.stack([place[:, 0], tf.gather_nd(allowed, place)], axis=1)
            return tf.scatter_nd(cells, tf.ones(tf.shape(cells)[:1]), tf.cast(tf.shape(scores), tf.int64)) > 0

        scores += self.boosts(request)
        scores = _only(scores, tf.reduce_any(request.allow != "", axis=1), in_list)
        key, value = _parsed(request.filter)
        codes = self._codes_of(request.filter)
        for name in self._categories:
            own = key == f"{name}="
            having = functools.partial(self._having, tf.where(own, codes, 0))
            scores = _only(scores, tf.reduce_any(own, axis=1), having)
        for number, name in enumerate(self._numbers):
            own = _among(key, [name + operator for operator in _OPERATORS])
            scores = _only(
                scores, tf.reduce_any(own, axis=1), functools.partial(self._within, number, name, key, value)
            )
        return scores

    def boosts(self, request: Request) -> tf.Tensor:
        """What boosts add to the scores of all rows, [B, R]; [1, 1] zero where no request has one."""

        def added() -> tf.Tensor:
            key, value = _parsed(request.boost)
            total = self._spread(self._codes_of(request.boost), request.boost_by)
            for number, name in enumerate(self._numbers):
                low, high = _interval(name, key, value)
                amounts = self._amounts[number]
                # NaN is in no interval, so neither is an item without the number, nor a condition on another feature.
                inside = (amounts >= low[:, :, tf.newaxis]) & (amounts <= high[:, :, tf.newaxis])
                total += tf.reduce_sum(tf.where(inside, request.boost_by[:, :, tf.newaxis], 0.0), axis=1)
            return total

        return tf.cond(tf.reduce_any(request.boost != ""), added, lambda: tf.zeros([1, 1]))

    def _having(self, codes: tf.Tensor) -> tf.Tensor:
        """Which rows [B, R] fulfil any of the conditions [B, F]."""
        return self._spread(codes, tf.ones_like(codes, tf.float32)) > 0

    def _within(self, number: int, name: str, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Which rows [B, R] fulfil the conditions on a number: all bounds, and one of the values if any is given."""
        amounts = self._amounts[number]
        low, high = _interval(name, key, value)
        equal = key == f"{name}="
        bound = _among(key, [f"{name}<=", f"{name}>="])
        least = tf.reduce_max(tf.where(bound, low, -np.inf), axis=1, keepdims=True)
        most = tf.reduce_min(tf.where(bound, high, np.inf), axis=1, keepdims=True)
        inside = (amounts >= least) & (amounts <= most)

        def listed() -> tf.Tensor:
            wanted = tf.where(equal, low, np.nan)[:, :, tf.newaxis]
            return inside & (tf.reduce_any(amounts == wanted, axis=1) | ~tf.reduce_any(equal, axis=1, keepdims=True))

        return tf.cond(tf.reduce_any(equal), listed, lambda: inside)

    def _codes_of(self, conditions: tf.Tensor) -> tf.Tensor:
        for plain, escape in ESCAPES:
            pattern, rewrite = (text.replace(b"\\", b"\\\\") for text in (plain, escape))
            conditions = tf.strings.regex_replace(conditions, pattern, rewrite)
        return tf.maximum(self._codes.lookup(conditions), 0)

    def _spread(self, codes: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """For each row of the index the sum of the values [B, F] of the conditions [B, F] that it fulfils: [B, R]."""
        batch, width = tf.unstack(tf.shape(codes))
        request = tf.repeat(tf.range(batch), width)
        flat = tf.reshape(codes, [-1])
        starts, ends = tf.gather(self._splits, flat), tf.gather(self._splits, flat + 1)
        place = tf.ragged.range(starts, ends)
        condition = place.value_rowids()
        cells = tf.stack([tf.gather(request, condition), tf.gather(self._rows, place.values)], axis=1)
        total = tf.scatter_nd(cells, tf.gather(tf.reshape(values, [-1]), condition), [batch, self._num_rows])
        if self._columns is None:
            return total
        column = tf.gather(self._column_of, codes)
        columns = self._columns.read_value()

        def add(place: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
            own = column[:, place]
            value = tf.where(own >= 0, values[:, place], 0.0)[:, tf.newaxis]
            return total + tf.where(tf.gather(columns, tf.maximum(own, 0)), value, 0.0)

        def step(place: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            there = tf.reduce_any(column[:, place] >= 0)
            return place + 1, tf.cond(there, lambda: add(place, total), lambda: total)

        return tf.while_loop(lambda place, _: place < width, step, (0, total), parallel_iterations=1)[1]


class _Conditions(NamedTuple):
    """Conditions as they are applied: those that many rows fulfil as a column each, the others as lists of rows."""

    splits: np.ndarray
    """[V + 1] int64, as in `Attributes`."""
    rows: np.ndarray
    """[P] int32, without those of the frequent conditions."""
    columns: np.ndarray
    """[Q, R] bool."""
    column_of: np.ndarray
    """[V] int32: the column of each condition, -1 for a list."""


def _split(attributes: Attributes, num_rows: int) -> _Conditions:
    """Takes out the conditions that more than one row in `_FREQUENT` fulfils, at R = `num_rows`.

    To mark rows one by one costs fifty times what it costs to read a whole column of them.
    """
    counts = np.diff(attributes.splits)
    frequent = np.flatnonzero(counts * _FREQUENT > num_rows)
    columns = np.zeros((len(frequent), num_rows), bool)
    for column, condition in enumerate(frequent):
        columns[column, attributes.rows[attributes.splits[condition] : attributes.splits[condition + 1]]] = True
    kept = counts * _FREQUENT <= num_rows
    column_of = np.full(len(counts), -1, np.int32)
    column_of[frequent] = np.arange(len(frequent))
    return _Conditions(
        np.concatenate([[0], np.cumsum(np.where(kept, counts, 0))]).astype(np.int64),
        attributes.rows[np.repeat(kept, counts)],
        columns,
        column_of,
    )


def _parsed(conditions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of conditions of any shape the names with their operators, such as `price<=`, and what stands behind."""
    return tuple(tf.strings.regex_replace(conditions, _CONDITION, rf"\{group}") for group in (1, 2))


def _among(texts: tf.Tensor, listed: list[str]) -> tf.Tensor:
    return tf.reduce_any(texts[..., tf.newaxis] == tf.constant(listed, tf.string), axis=-1)


def _interval(name: str, key: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Least and greatest numbers [B, F] that fulfil the conditions on a feature; NaN for conditions on another."""
    own = _among(key, [name + operator for operator in _OPERATORS]) & tf.strings.regex_full_match(value, _NUMBER)
    number = tf.where(own, tf.strings.to_number(tf.where(own, value, "0")), np.nan)
    low = tf.where(key == f"{name}<=", -np.inf, number)
    return low, tf.where(key == f"{name}>=", np.inf, number)


def _only(scores: tf.Tensor, used: tf.Tensor, passes: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Scores [B, R], -inf for what doesn't pass [B, R] in those rows [B] that use the rule."""
    return tf.cond(
        tf.reduce_any(used),
        lambda: tf.where(passes() | ~used[:, tf.newaxis], scores, -np.inf),
        lambda: scores,
    )
