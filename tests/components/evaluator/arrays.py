"""Ids and ragged rows of items as arrays."""

from __future__ import annotations

import numpy as np


def ids(*names: str) -> np.ndarray:
    return np.array([name.encode() for name in names], dtype=object)


def ragged(*rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row for of_query in rows for row in of_query], np.int32), np.cumsum([0, *map(len, rows)])
