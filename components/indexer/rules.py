"""Rules of a request, kept inside the graph: allow-lists, filters, boosts and diversity, exactly and in native ops.

A condition is a text: `name=value` for a feature of one or several categories, `name=number`, `name<=number` or
`name>=number` for a number. The values are those of the catalogue, not the towers' vocabularies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.examples import reading
from serving.contract import AS_CONFIGURED

_OPERATORS = ("=", "<=", ">=")
_CONDITION = r"(?s)^([A-Za-z][A-Za-z0-9_]*(?:<=|>=|=))(.*)$"
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NONE = b"="
"""No condition. A file's line can't be empty."""
_FREQUENT = 16
"""A condition that more than one item in so many fulfils is kept as a column, see `_split`."""
_ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))
"""A value is a line of a file, where a line break can't stand for itself."""


@dataclass(frozen=True)
class Attributes:
    """What the N items can be filtered by: V conditions on categories and the items that fulfil each, and M numbers."""

    categories: tuple[str, ...] = ()
    """Names of the features of categories."""
    numbers: tuple[str, ...] = ()
    """Names of the M features that are numbers."""
    conditions: np.ndarray = field(default_factory=lambda: np.array([_NONE], object))
    """[V] bytes, unique: `name=value`, escaped. The first stands for what no item fulfils, and for padding."""
    splits: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    """[V + 1] int64: condition v is fulfilled by the items `rows[splits[v]:splits[v + 1]]`."""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """[P] int32, rows of items."""
    amounts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """[M, N] float32; NaN where an item has no number."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ("conditions", "splits", "rows", "amounts")}


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


def read_attributes(catalogue: str, types: Mapping[str, str], kept: np.ndarray | None = None) -> Attributes:
    """Reads what the items can be filtered by.

    Args:
        catalogue: URI of the catalogue's Examples.
        types: `category`, `categories` or `number` by the feature's name.
        kept: [M] bool, which of its items are the N of the index; by default all.
    """
    numbers = tuple(name for name, kind in types.items() if kind == "number")
    categories = tuple(name for name in types if name not in numbers)
    features = {**dict.fromkeys(categories, bytes), **dict.fromkeys(numbers, float)}
    if not features:
        return Attributes()
    table = reading.read_columns(catalogue, "catalogue", features)
    if kept is not None:
        table = table.filter(pa.array(kept))
    conditions, rows = [_NONE], [np.zeros(0, np.int64)]
    for name in categories:
        values, offsets = reading.ragged(table, name)
        vocabulary, code = np.unique(values, return_inverse=True)
        row = np.repeat(np.arange(table.num_rows), np.diff(offsets))
        # A value twice is a value once.
        code, row = np.unique(np.stack([code.reshape(-1), row]), axis=1)
        conditions += [f"{name}=".encode() + _escaped(value) for value in vocabulary.tolist()]
        rows += np.split(row, np.searchsorted(code, np.arange(1, len(vocabulary)))) if len(vocabulary) else []
    return Attributes(
        categories,
        numbers,
        np.array(conditions, object),
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        np.concatenate(rows).astype(np.int32),
        np.array([reading.scalars(table, name, np.nan) for name in numbers], np.float32).reshape(-1, table.num_rows),
    )


class Rules(tf.Module):
    """Applies the rules of requests to the scores of all rows of the index.

    Args:
        attributes: What items can be filtered by.
        codes: A lookup table from `attributes.conditions` to their place there.
        num_rows: R, rows of the index, of which the first N are the items.
    """

    def __init__(self, attributes: Attributes, codes: Any, num_rows: int) -> None:
        super().__init__()
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
            f" NAME>=NUMBER with one of: {', '.join(self._numbers) or 'none'} (serving.filters in the config); not"
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
        for plain, escape in _ESCAPES:
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


def diverse(
    scores: tf.Tensor, directions: tf.Tensor, diversity: tf.Tensor, pool: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) among the best, greedily.

    The next is the one with the highest `(1 - diversity) * relevance - diversity * closest`: relevance is the score,
    scaled so that the request's candidates go from 0 to 1; closest is the highest cosine with what was chosen before.
    With diversity 0 the order stays as it is.

    Args:
        scores: [B, N], best first; -inf for what is no candidate, which comes last.
        directions: [B, N, D], the items' vectors, of length 1.
        diversity: [B], 1 - lambda of the paper.
        pool: [B] int32, how many of the N are candidates of each request.
        count: [] int32, how many to choose, at most N.

    Returns:
        Their places among the N, [B, count] int32.
    """
    present = ~tf.math.is_inf(scores) & (tf.range(tf.shape(scores)[1]) < pool[:, tf.newaxis])
    best = scores[:, :1]
    least = tf.reduce_min(tf.where(present, scores, best), axis=1, keepdims=True)
    relevance = tf.where(present, tf.math.divide_no_nan(scores - least, best - least), 0.0)
    weight = diversity[:, tf.newaxis]
    # What is no candidate comes after all candidates; what was chosen never again, and argmax overlooks the very least.
    value = tf.where(present, (1 - weight) * relevance, tf.float32.min / 2)
    closest = tf.fill(tf.shape(scores), -np.inf)

    def choose(step: tf.Tensor, value: tf.Tensor, closest: tf.Tensor, places: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        marginal = value - tf.where(present & (step > 0), weight * closest, 0.0)
        place = tf.argmax(marginal, axis=1, output_type=tf.int32)
        chosen = tf.gather(directions, place, batch_dims=1)
        cosine = tf.squeeze(tf.matmul(directions, chosen[:, :, tf.newaxis]), axis=2)
        value = tf.where(tf.one_hot(place, tf.shape(scores)[1], True, False, dtype=tf.bool), -np.inf, value)
        return step + 1, value, tf.maximum(closest, cosine), places.write(step, place)

    places = tf.TensorArray(tf.int32, size=count, element_shape=scores.shape[:1])
    *_, places = tf.while_loop(lambda step, *_: step < count, choose, (0, value, closest, places))
    return tf.reshape(tf.transpose(places.stack()), [tf.shape(scores)[0], count])


def _escaped(value: bytes) -> bytes:
    for plain, escape in _ESCAPES:
        value = value.replace(plain, escape)
    return value


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
