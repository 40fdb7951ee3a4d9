"""Files of vectors: what is read is what was written, in whichever batches, and nothing is held for long."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.errors import InputError
from pipeline.batch.vectors import files
from pipeline.batch.vectors.files import Vectors, check_output, file_names, read_vectors, write_manifest, write_vectors

# What an id may be: anything but empty or with a line break.
any_id = st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)), min_size=1, max_size=5)
any_float = st.floats(width=32, allow_nan=False)
formats = pytest.mark.parametrize("file_format", ["parquet", "npy"])


@st.composite
def some_batches(draw: Any) -> list[Vectors]:
    width, with_bias = draw(st.integers(1, 4)), draw(st.booleans())
    batches = []
    for _ in range(draw(st.integers(1, 3))):
        ids = draw(st.lists(any_id, max_size=4))
        matrix = draw(arrays.arrays(np.float32, (len(ids), width), elements=any_float))
        bias = draw(arrays.arrays(np.float32, len(ids), elements=any_float)) if with_bias else None
        batches.append(Vectors([item.encode() for item in ids], matrix, bias))
    return batches


@pytest.mark.slow
@pytest.mark.smoke
@formats
@settings(max_examples=60, deadline=None)
@given(batches=some_batches())
def test_what_is_read_is_what_was_written(file_format: Any, batches: list[Vectors]) -> None:
    count = sum(len(batch.ids) for batch in batches)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vectors(folder, "items", file_format, batches, count)
        expected = file_names("items", file_format, batches[0].bias is not None)
        assert {path.name for path in folder.iterdir()} == {*expected}
        found = list(read_vectors(folder, "items"))
        assert [item for batch in found for item in batch.ids] == [item for batch in batches for item in batch.ids]
        if count:
            assert np.array_equal(joined(found, "vectors"), joined(batches, "vectors"))
            if batches[0].bias is not None:
                assert np.array_equal(joined(found, "bias"), joined(batches, "bias"))
        assert all((batch.bias is None) == (batches[0].bias is None) for batch in found)


def joined(batches: list[Vectors], name: str) -> np.ndarray:
    return np.concatenate([getattr(batch, name) for batch in batches])


@formats
def test_files_of_more_than_one_reading(file_format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_READ", 2)
    matrix, bias = np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(5, dtype=np.float32)
    write_vectors(tmp_path, "items", file_format, [Vectors([b"a", b"b", b"c", b"d", b"e"], matrix, bias)], 5)
    found = list(read_vectors(tmp_path, "items"))
    assert [batch.ids for batch in found] == [[b"a", b"b"], [b"c", b"d"], [b"e"]]
    assert [batch.vectors.tolist() for batch in found] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert [batch.bias.tolist() for batch in found if batch.bias is not None] == [[0, 1], [2, 3], [4]]


def test_parquet_says_how_long_a_vector_is(tmp_path: Path) -> None:
    write_vectors(tmp_path, "users", "parquet", [Vectors([b"a"], np.ones((1, 3), np.float32), None)], 1)
    assert pq.read_schema(str(tmp_path / "users.parquet")).field("vector").type.list_size == 3


def test_npy_is_whole_before_it_is_there(tmp_path: Path) -> None:
    """An error in the middle leaves no file, as a kill leaves none of these names."""

    def some() -> Iterator[Vectors]:
        yield Vectors([b"a"], np.ones((1, 3), np.float32), None)
        assert not {path.name for path in tmp_path.iterdir()} & {"users.npy", "users.txt", "users.parquet"}
        raise ZeroDivisionError

    for file_format in ("npy", "parquet"):
        with pytest.raises(ZeroDivisionError):
            write_vectors(tmp_path, "users", file_format, some(), 2)  # type: ignore[arg-type]
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.smoke
@formats
def test_memory_does_not_grow_with_the_number_of_users(file_format: Any, tmp_path: Path) -> None:
    """Of 200 batches, 13 MB, no more is in memory than of 20."""

    def many(count: int, peaks: list[int]) -> Iterator[Vectors]:
        for number in range(count):
            peaks.append(pa.total_allocated_bytes())
            yield Vectors([b"%d" % number] * 1_000, np.full((1_000, 16), number, np.float32), None)

    used = []
    for count in (20, 200):
        peaks: list[int] = []
        tracemalloc.start()
        write_vectors(tmp_path, "users", file_format, many(count, peaks), 1_000 * count)
        used.append(tracemalloc.get_traced_memory()[1] + max(peaks) - min(peaks))
        tracemalloc.stop()
    # Parquet notes in its footer, a few hundred bytes for each batch, where it lies.
    assert used[1] < used[0] + (500_000 if file_format == "parquet" else 50_000)


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        ([], True),
        (["manifest.json", "items.parquet", "users.parquet"], True),
        (["manifest.json", "items.npy", "items.txt", "item_bias.npy", "users.npy", "users.txt"], True),
        (["items.parquet"], False),
        (["manifest.json", "items.parquet", "notes.txt"], False),
    ],
)
def test_what_may_be_replaced(tmp_path: Path, names: list[str], fits: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    if fits:
        check_output(tmp_path)
    else:
        with pytest.raises(InputError, match="is there, and is no folder that `recommender vectors` wrote"):
            check_output(tmp_path)


def test_a_place_that_is_new_or_none(tmp_path: Path) -> None:
    check_output(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder that"):
        check_output(tmp_path / "file")
    with pytest.raises(InputError, match="files appear by rename"):
        check_output(Path("gs://bucket/vectors"))


def test_the_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"version": "ä"})
    assert (tmp_path / "manifest.json").read_text("utf-8") == '{\n  "version": "ä"\n}\n'
