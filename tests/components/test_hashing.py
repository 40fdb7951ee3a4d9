"""Hashes: fixed values, for what was drawn by them must be drawn again anywhere."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from components.hashing import hash_text, hashes, mixed


def test_mixed_are_the_first_numbers_of_splitmix64() -> None:
    """The published generator's first output from the seeds 0 and 1."""
    assert mixed(np.array([0, 1])).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]


def test_text_is_hashed_by_its_crc_32_mixed() -> None:
    assert hash_text(pa.array(["a", "é"])).tolist() == [3187963305867457774, 1136047645494374104]


def test_ids_are_hashed_by_blake2b() -> None:
    found = hashes([b"a", b""])
    assert found.tolist() == [4681665781835383343, 16476032584258269876]
    assert found.dtype == np.uint64
    assert hashes([]).shape == (0,)
