"""Given vectors: what columns and `.npy` files of many kinds hold, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import InputError
from components.tables import vectors
from components.tables.features import ItemFeature
from components.tables.formats import TableSettings
from components.tables.vectors import as_vectors, common_length, lacking, numbers, unit

PLAIN = TableSettings()
FLOATS = st.floats(-1e30, 1e30)


def found(array: pa.Array, how: TableSettings = PLAIN) -> tuple[list[Any], dict[str, list[int]]]:
    """Vectors of two numbers, and the rows that are wrong, by reason."""
    made, wrong = as_vectors(array, 2, "v", how)
    assert made.type == pa.list_(pa.float32(), 2)
    rows = {reason: np.flatnonzero(bad).tolist() for reason, bad in wrong.items() if bad.any()}
    return [None if value is None else pytest.approx(value) for value in made.to_pylist()], rows


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[3.0, 4.0], None, [0.0, -5.0]]),
        pa.array([[3, 4], [], [0, -5]], pa.large_list(pa.int8())),
        pa.array([[3.0, 4.0], None, [0.0, -5.0]], pa.list_(pa.float32(), 2)),
        pa.array([[9.0, 9.0], [3.0, 4.0], None, [0.0, -5.0]], pa.list_(pa.float32(), 2))[1:],
        pa.array([np.array([3, 4], np.float16), None, np.array([0, -5], np.float16)], pa.list_(pa.float16())),
        pa.array([["3", "4"], None, ["0", "-5e0"]]),
        pa.array(["[3, 4]", "", "[0,-5]"]),
        pa.array(["3 4", "[]", "0\t-5"]),
        pa.array(["3|4", None, "(0; -5)"]).dictionary_encode(),
        pa.array(["[3.  4.]\n", " ", "[ 0.\n -5.]"]),
        pa.array([[3.0, 4.0], [0.0, 0.0], [0.0, -5.0]]),
        pa.chunked_array([[[3e300, 4e300]], [None], [[0.0, -1e-300]]]),
    ],
    ids=lambda array: f"{array.type}-{len(array)}",
)
def test_a_column_is_vectors_of_length_one(array: pa.Array) -> None:
    assert found(array) == ([[0.6, 0.8], None, [0.0, -1.0]], {})


def test_commas_before_fractions() -> None:
    assert found(pa.array(["0,3 0,4", "[0,0; -0,5]"]), TableSettings(decimal=",")) == ([[0.6, 0.8], [0.0, -1.0]], {})


def test_wrong_rows_are_named() -> None:
    length, finite = "v has not 2 numbers (see dim)", "v holds what is no finite number"
    assert found(pa.array([[1.0], [3.0, 4.0], [1.0, 2.0, 3.0]])) == ([None, [0.6, 0.8], None], {length: [0, 2]})
    assert found(pa.array([[1.0, float("nan")], [float("inf"), 1.0], [None, 1.0]]))[1] == {finite: [0, 1, 2]}
    assert found(pa.array(["a b", "1 nan", "array([3, 4])"]))[1] == {finite: [0, 1, 2]}


def test_rows_of_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_PIECE", 2)
    length, finite = "v has not 2 numbers (see dim)", "v holds what is no finite number"
    rows = [[3.0, 4.0], None, [0.0, 2.0], [1.0], [float("nan"), 1.0]]
    assert found(pa.array(rows)) == ([[0.6, 0.8], None, [0.0, 1.0], None, None], {length: [3], finite: [4]})
    assert found(pa.chunked_array([rows[:1], rows[1:]]))[1] == {length: [3], finite: [4]}


@pytest.mark.parametrize("array", [pa.array([1.0]), pa.array([{"a": 1}]), pa.array([[[1.0], [2.0]]])], ids=range(3))
def test_what_can_be_no_vectors(array: pa.Array) -> None:
    with pytest.raises(InputError, match=r"column 'v' is of type .* where vectors are needed: lists of numbers, or"):
        found(array)


@given(
    st.lists(st.lists(FLOATS, min_size=1, max_size=4), max_size=4),
    st.sampled_from([",", ", ", " ", ";"]),
    st.sampled_from(["[{}]", "{}"]),
)
@settings(max_examples=50)
def test_text_and_lists_say_the_same(rows: list[list[float]], between: str, form: str) -> None:
    values, lengths = numbers(pa.array(rows, pa.list_(pa.float64())), "v")
    assert lengths.tolist() == [len(row) for row in rows]
    texts = [form.format(between.join(map(repr, row))) for row in rows]
    of_text = numbers(pa.array(texts, pa.string()), "v")
    np.testing.assert_array_equal(of_text[0], values)
    np.testing.assert_array_equal(of_text[1], lengths)


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_lengths_are_one(rows: list[list[float]]) -> None:
    made = unit(np.array(rows))
    assert made.dtype == np.float32
    for row, vector in zip(rows, made):
        assert np.linalg.norm(vector) == pytest.approx(1 if any(row) else 0, abs=1e-5)


def test_most_rows_say_the_length() -> None:
    assert common_length(np.array([2, 3, 3, 0])) == 3
    assert common_length(np.array([0, 0])) is None


MATRIX = np.array([[3, 4], [0, -5], [0, 0]], np.float16)


def lend(folder: Path, values: np.ndarray = MATRIX, ids: Any = "a\nb\nc\n", **how: Any) -> list[Any]:
    """The vectors of items c, x, b and a, and what is said of them."""
    np.save(folder / "look.npy", values)
    path = folder / "ids.txt"
    if isinstance(ids, str):
        path.write_text(ids, encoding="utf-8")
    elif isinstance(ids, np.ndarray):
        path = path.with_suffix(".npy")
        np.save(path, ids)
    else:
        path = path.with_suffix(".parquet")
        pq.write_table(ids, path)
    feature = ItemFeature(type="vector", path=str(folder / "look.npy"), ids=str(path), **how)
    with vectors.opened(feature, "item_id") as matrix:
        matrix.check()
        placed = matrix.of(pa.array(["c", "x", "b", "a"]))
        assert isinstance(matrix.values, np.memmap)
        return [placed.take(0, 2).tolist(), pytest.approx(placed.take(2, 9)), placed.lacking("look")]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8", "int8"])
def test_a_matrix_of_any_kind_of_number(tmp_path: Path, dtype: str) -> None:
    expected = [[[0, 0], [0, 0]], np.array([[0, -1], [0.6, 0.8]]), "look: no vector of 1 of 4 items"]
    assert lend(tmp_path, MATRIX.astype(dtype)) == expected
    assert lend(tmp_path, np.asfortranarray(MATRIX), dim=2) == expected


@pytest.mark.parametrize(
    "ids",
    [
        "\ufeffa\r\nb\r\nc",
        np.array(["a", "b", "c"]),
        np.array([b"a", b"b", b"c"]),
        pa.table({"any": ["a", "b", "c"]}),
        pa.table({"item_id": ["a", "b", "c"], "x": [1, 2, 3]}),
    ],
    ids=range(5),
)
def test_ids_of_many_kinds(tmp_path: Path, ids: Any) -> None:
    assert lend(tmp_path, ids=ids)[1] == np.array([[0, -1], [0.6, 0.8]])


def test_ids_in_a_column_that_is_named(tmp_path: Path) -> None:
    table = pa.table({"item_id": ["x", "y", "z"], "sku": ["a", "b", "c"]})
    assert lend(tmp_path, ids=table, column="sku")[1] == np.array([[0, -1], [0.6, 0.8]])


@pytest.mark.parametrize(
    ("values", "ids", "message"),
    [
        (MATRIX, "a\nb\n", r"look.npy has 3 rows, but .*ids.txt has 2 ids$"),
        (MATRIX, "item_id\na\nb\nc\n", r"look.npy has 3 rows, but .*ids.txt has 4 ids; has it a header\? Then call"),
        (MATRIX, "a\nb\na\n", r"ids.txt: ids must be unique, but are there more than once: 'a' \(rows 1, 3\)"),
        (MATRIX, "a\n\nc\n", "ids.txt, row 2: there is no id"),
        (MATRIX, "d\ne\nf\n", "ids.txt: none of its 3 ids is an item: they are such as 'd', 'e', 'f', and the items"),
        (
            MATRIX,
            np.array([b"a", b"\xff", b"c"]),
            r"ids.npy: its ids are bytes that are not UTF-8 \(.*: save them as text",
        ),
        (MATRIX, np.array([1.5, 2, 3]), r"ids.npy is an array of shape \(3,\) and type float64, where a list of ids"),
        (MATRIX, np.array(["a", None, "c"], object), r"ids.npy can't be read as .npy: .*as text \(ids.astype\(str\)\)"),
        (MATRIX, pa.table({"a": ["a"], "b": ["b"]}), "ids.parquet has no column 'item_id'; it has 'a', 'b'"),
        (MATRIX[:, 0], "a\nb\nc\n", r"look.npy is an array of shape \(3,\) and type float16, where rows of numbers"),
        (MATRIX.astype(str), "a\nb\nc\n", r"look.npy is an array of shape \(3, 2\) and type <U32, where rows of"),
        (MATRIX[:0], "", r"look.npy is an array of shape \(0, 2\): there is nothing in it"),
        (
            np.where(MATRIX == -5, np.nan, MATRIX),
            "a\nb\nc\n",
            "look.npy: row 2, of 'b', holds nan, which is no finite number: mend it, or leave the row and its id out",
        ),
    ],
)
def test_bad_matrices_end_with_one_clear_message(tmp_path: Path, values: np.ndarray, ids: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lend(tmp_path, values, ids)


def test_each_row_of_a_matrix_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_PIECE", 1)
    with pytest.raises(InputError, match=r"look\.npy: row 3, of 'c', holds inf"):
        lend(tmp_path, np.where(MATRIX == 0, np.array([[1], [1], [np.inf]]), MATRIX))
    feature = ItemFeature(type="vector", path=f"{tmp_path}/look.npy", ids=f"{tmp_path}/ids.txt")
    with vectors.opened(feature, "item_id") as matrix:
        matrix.check(most_bytes=32)  # of two rows


def test_ids_without_the_header_that_a_table_has(tmp_path: Path) -> None:
    lend(tmp_path)
    (tmp_path / "ids.csv").write_text("a\nb\nc\n")
    feature = ItemFeature(type="vector", path=f"{tmp_path}/look.npy", ids=f"{tmp_path}/ids.csv")
    with (
        pytest.raises(InputError, match=r"has 3 rows, but .*ids\.csv has 2 ids; has it no header\? Then call it .txt"),
        vectors.opened(feature, "item_id"),
    ):
        pass


def test_another_length_than_the_settings_say(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"look.npy has vectors of 2 numbers, but dim is 3"):
        lend(tmp_path, dim=3)


def test_files_that_are_no_npy(tmp_path: Path) -> None:
    np.savez(tmp_path / "several.npz", a=MATRIX)
    (tmp_path / "broken.npy").write_bytes((tmp_path / "several.npz").read_bytes()[:9])
    np.save(tmp_path / "cut.npy", MATRIX)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-3])
    for name, message in {
        "none.npy": "there is no file .*none.npy",
        "several.npz": "several.npz can't be read as .npy: .*: save the one array that is meant by np.save",
        "broken.npy": "broken.npy can't be read as .npy: ",
        "cut.npy": "cut.npy can't be read as .npy: ",
    }.items():
        with pytest.raises(InputError, match=message):
            vectors.shape(str(tmp_path / name))


def test_a_matrix_elsewhere_is_copied_here(tmp_path: Path) -> None:
    np.save(tmp_path / "look.npy", MATRIX)
    fsspec.filesystem("memory").put(str(tmp_path / "look.npy"), "/vectors/look.npy")
    assert vectors.shape("memory://vectors/look.npy") == (3, 2)
    with pytest.raises(InputError, match=r"memory://vectors/none.npy: no such bucket or object"):
        vectors.shape("memory://vectors/none.npy")


def test_what_is_said_of_vectors_and_items_apart() -> None:
    assert lacking("v", items=5, missing=0) == ""
    assert lacking("v", 2_000, 1_000, 1) == "v: no vector of 1,000 of 2,000 items, vectors of 1 id that is no item"
    assert lacking("v", 5, 0, 2) == "v: vectors of 2 ids that are no items"
