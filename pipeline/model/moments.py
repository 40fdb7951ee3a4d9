"""Mean and deviation of a number, and the mean of vectors, over all of the data, exactly: whatever batches Beam makes,
not a bit differs.

Sums of floating-point numbers depend on their order, and Beam takes the sizes of its batches from the clock. Here the
sums are whole numbers: a float32 is a whole number of 2^-149, and its square one of 2^-298.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

_DIGITS = 24
"""Binary digits of a float32."""
_UNIT = 149
"""The least float32 is 2^-149."""

_PLACES = 36
"""Binary places that count of the numbers of a vector, the sums of 2^27 of which fit into 64 bits."""

_Sums = tuple[int, int, int]
"""How many values, their sum in units of 2^-149, that of their squares in units of 2^-298."""


def mean_and_deviation(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean and the standard deviation [] float64 of `values` [N] float32 over the data; 0 and 0 without any."""
    mean, deviation = tft.experimental.ptransform_analyzer(
        [values], _Moments(), output_dtypes=[tf.float64, tf.float64], output_shapes=[[], []]
    )
    return mean, deviation


def mean_of_vectors(vectors: tf.Tensor) -> tf.Tensor:
    """The mean [E] float64 of `vectors` [N, E] float32 of length 1 over the data; rows of zeros, which stand for
    missing ones, don't count."""
    [mean] = tft.experimental.ptransform_analyzer(
        [vectors], _MeanOfVectors(), output_dtypes=[tf.float64], output_shapes=[[vectors.shape[1]]]
    )
    return mean


class _MeanOfVectors(beam.PTransform):
    """Batches, tuples of one array, to the mean of its rows."""

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection]:
        return (batches | beam.CombineGlobally(_Rows()),)


class _Rows(beam.CombineFn):
    """Adds up rows that are not zeros, as whole numbers; what was added is the count and the sums."""

    def create_accumulator(self) -> tuple[int, np.ndarray]:
        return 0, np.zeros((), np.int64)

    def add_input(self, accumulator: tuple[int, np.ndarray], element: tuple[np.ndarray]) -> tuple[int, np.ndarray]:
        count, total = accumulator
        whole = np.rint(np.ldexp(element[0].astype(np.float64), _PLACES)).astype(np.int64)
        return count + int(element[0].any(axis=1).sum()), total + whole.sum(axis=0)

    def merge_accumulators(self, accumulators: Iterable[tuple[int, np.ndarray]]) -> tuple[int, np.ndarray]:
        counts, totals = zip(*accumulators)
        return sum(counts), sum(totals, np.zeros((), np.int64))

    def extract_output(self, accumulator: tuple[int, np.ndarray]) -> np.ndarray:
        count, total = accumulator
        return np.ldexp(total / max(count, 1), -_PLACES)


class _Moments(beam.PTransform):
    """Batches, tuples of one array, to a mean and a deviation."""

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        found = batches | beam.CombineGlobally(_Exactly())
        return found | "Mean" >> beam.Map(lambda both: both[0]), found | "Deviation" >> beam.Map(lambda both: both[1])


class _Exactly(beam.CombineFn):
    """Adds up whole numbers."""

    def create_accumulator(self) -> _Sums:
        return 0, 0, 0

    def add_input(self, accumulator: _Sums, element: tuple[np.ndarray]) -> _Sums:
        return _added([accumulator, exact_sums(element[0])])

    def merge_accumulators(self, accumulators: Iterable[_Sums]) -> _Sums:
        return _added(accumulators)

    def extract_output(self, accumulator: _Sums) -> tuple[np.ndarray, np.ndarray]:
        count, total, squares = accumulator
        mean = Fraction(total, max(count, 1) << _UNIT)
        variance = Fraction(squares, max(count, 1) << 2 * _UNIT) - mean**2
        return np.array(float(mean)), np.array(math.sqrt(variance))


def exact_sums(values: np.ndarray) -> _Sums:
    """The sums of finite values [N] float32."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    whole = np.ldexp(fraction, _DIGITS).astype(np.int64)  # below 2^24
    total = squares = 0
    for power in np.unique(exponent).tolist():
        some = whole[exponent == power]
        shift = power - _DIGITS + _UNIT
        total += _shifted(int(some.sum()), shift)
        # In two halves, for the squares have up to 48 digits and their sum must not have more than 63.
        high, low = np.divmod(some**2, 1 << _DIGITS)
        squares += _shifted((int(high.sum()) << _DIGITS) + int(low.sum()), 2 * shift)
    return len(values), total, squares


def _shifted(number: int, digits: int) -> int:
    """`number` times 2^`digits`; what digits below zero take away is zeros."""
    return number << digits if digits >= 0 else number >> -digits


def _added(sums: Iterable[_Sums]) -> _Sums:
    counts, totals, squares = zip((0, 0, 0), *sums)
    return sum(counts), sum(totals), sum(squares)
