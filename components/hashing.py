"""Hashes that are the same on every machine and in every run."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def hash_text(values: pa.Array) -> np.ndarray:
    """Returns a hash of each value, uint64 [n], the same on every machine and in every run."""
    return mixed(np.array([zlib.crc32(value.encode()) for value in values.to_pylist()], dtype=np.uint64))


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Returns well-mixed bits of the numbers, uint64 [n] (the finaliser of SplitMix64, Steele et al. 2014)."""
    bits = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def hashes(ids: Iterable[bytes]) -> np.ndarray:
    """Returns a hash of each of [N] bytes, uint64, the same on every machine."""
    return np.array([int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") for name in ids], np.uint64)
