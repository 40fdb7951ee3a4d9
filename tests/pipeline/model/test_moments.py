"""Exact sums, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.moments import _Exactly, _Rows, exact_sums

NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30)


@pytest.mark.slow
@pytest.mark.smoke
@given(NUMBERS)
def test_sums_are_those_of_fractions(numbers: list[float]) -> None:
    exact = [Fraction(number) for number in numbers]
    count, total, squares = exact_sums(np.array(numbers, np.float32))
    assert count == len(numbers)
    assert Fraction(total, 1 << 149) == sum(exact)
    assert Fraction(squares, 1 << 298) == sum(number**2 for number in exact)


def test_many_large_numbers_do_not_overflow() -> None:
    numbers = np.full(1 << 18, 2**24 - 1, np.float32)
    assert exact_sums(numbers) == (1 << 18, ((2**24 - 1) << 18) << 149, ((2**24 - 1) ** 2 << 18) << 298)


@pytest.mark.slow
@pytest.mark.smoke
@given(NUMBERS, st.integers(0, 30), st.integers(0, 30))
def test_no_bit_depends_on_batches(numbers: list[float], first: int, second: int) -> None:
    combine = _Exactly()

    def found(*parts: list[float]) -> tuple[float, float]:
        sums = [combine.add_input(combine.create_accumulator(), (np.array(part, np.float32),)) for part in parts]
        mean, deviation = combine.extract_output(combine.merge_accumulators(sums))
        return float(mean), float(deviation)

    whole = found(numbers)
    assert found(numbers[::-1][:first], numbers[::-1][first:]) == whole
    assert found(numbers[:second], [], numbers[second:]) == whole
    if numbers:
        exact = [Fraction(number) for number in numbers]
        mean = sum(exact) / len(exact)
        assert whole[0] == float(mean)
        variance = sum((number - mean) ** 2 for number in exact) / len(exact)
        assert whole[1] == pytest.approx(math.sqrt(variance), rel=1e-12)
    else:
        assert whole == (0, 0)


ROWS = st.lists(st.lists(st.sampled_from([0.0, 0.1, -0.7, 1.0]), min_size=2, max_size=2), max_size=9)


@pytest.mark.slow
@pytest.mark.smoke
@given(ROWS, st.integers(0, 9))
def test_no_bit_of_the_mean_of_vectors_depends_on_batches(rows: list[list[float]], cut: int) -> None:
    combine = _Rows()

    def found(*parts: list[list[float]]) -> list[float]:
        arrays = [np.array(part, np.float32).reshape(-1, 2) for part in parts]
        sums = [combine.add_input(combine.create_accumulator(), (array,)) for array in arrays]
        mean: np.ndarray = combine.extract_output(combine.merge_accumulators(sums))
        return mean.tolist()

    whole = found(rows)
    assert found(rows[::-1][:cut], rows[::-1][cut:]) == whole
    some = [row for row in rows if any(row)]
    assert whole == pytest.approx(np.mean(np.array(some, np.float32), axis=0) if some else [0, 0], abs=1e-7)
