"""What batch writes: layouts by hand, and files that other readers read."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from components.errors import InputError
from pipeline.batch import outputs
from pipeline.batch.answers import Answers
from pipeline.batch.outputs import Output, long_table, output_of, part_name, put_together, wide_table, write_part

ITEMS = {"item_id": pa.array(["a", "b,c", 'd"e', "f"]), "title": pa.array(["Title a", "Title\nb", "", "Titel ä"])}
ANSWERS = Answers(
    {"user_id": pa.array(["ann", " bob, jr", "nobody"])},
    np.array([[3, 1, 0], [2, -1, -1], [-1, -1, -1]], np.int32),
    np.array([[2.5, 0.1, -1e-7], [1, -np.inf, -np.inf], [-np.inf] * 3], np.float32),
    pa.array(["user", "history", "popular"]),
)
LONG = [
    ("ann", 1, "f", "Titel ä", 2.5, "user", "7"),
    ("ann", 2, "b,c", "Title\nb", np.float32(0.1), "user", "7"),
    ("ann", 3, "a", "Title a", np.float32(-1e-7), "user", "7"),
    (" bob, jr", 1, 'd"e', "", 1.0, "history", "7"),
]
NAMES = ["user_id", "rank", "item_id", "title", "score", "source", "version"]
WIDE = [["ann", "f", "b,c", "a"], [" bob, jr", 'd"e', "", ""], ["nobody", "", "", ""]]


def write(folder: Path, name: str, **options: Any) -> Path:
    output = output_of(folder / name, **options)
    write_part(output.path, output, ANSWERS, ITEMS, "7")
    assert [path.name for path in folder.iterdir()] == [name]
    return output.path


def read_csv(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def test_long_table() -> None:
    table = long_table(ANSWERS, ITEMS, "7")
    assert table.column_names == NAMES
    assert [tuple(row.values()) for row in table.to_pylist()] == LONG


def test_wide_table() -> None:
    assert wide_table(ANSWERS, ITEMS).to_pylist() == [
        {"user_id": "ann", "top1": "f", "top2": "b,c", "top3": "a"},
        {"user_id": " bob, jr", "top1": 'd"e', "top2": None, "top3": None},
        {"user_id": "nobody", "top1": None, "top2": None, "top3": None},
    ]


USERS = {"user_id": pa.array(["ann", " bob, jr"])}
AUDIENCES = Answers(
    {"item_id": pa.array(["a", "b,c"]), "title": pa.array(["Title a", ""])},
    np.array([[1, 0], [-1, -1]], np.int32),
    np.array([[-0.5, -2], [-np.inf, -np.inf]], np.float32),
)


def test_audiences() -> None:
    assert long_table(AUDIENCES, USERS, "7").to_pylist() == [
        {"item_id": "a", "title": "Title a", "rank": 1, "user_id": " bob, jr", "score": -0.5, "version": "7"},
        {"item_id": "a", "title": "Title a", "rank": 2, "user_id": "ann", "score": -2.0, "version": "7"},
    ]
    assert wide_table(AUDIENCES, USERS).to_pylist() == [
        {"item_id": "a", "top1": " bob, jr", "top2": "ann"},
        {"item_id": "b,c", "top1": None, "top2": None},
    ]
    lines = [line for some in outputs.wide_lines(AUDIENCES, USERS) for line in some.to_pylist()]
    assert lines == ["item_id,top1,top2", 'a," bob, jr",ann', '"b,c",,']
    lines = [line for some in outputs.long_lines(AUDIENCES, USERS, "7") for line in some.to_pylist()]
    assert lines[:2] == ["item_id,title,rank,user_id,score,version", 'a,Title a,1," bob, jr",-0.5,7']
    features = [
        tf.train.Example.FromString(record).features.feature for record in outputs.examples(AUDIENCES, USERS, "7")
    ]
    assert [list(each["user_id"].bytes_list.value) for each in features] == [[b" bob, jr", b"ann"], []]
    assert [list(each["item_id"].bytes_list.value) for each in features] == [[b"a"], [b"b,c"]]
    assert "source" not in features[0]


def test_wide_csv_quotes_only_what_must_be(tmp_path: Path) -> None:
    path = write(tmp_path, "top.csv")
    assert path.read_bytes() == b'user_id,top1,top2,top3\nann,f,"b,c",a\n" bob, jr","d""e",,\nnobody,,,\n'


def test_long_csv(tmp_path: Path) -> None:
    header, *rows = read_csv(write(tmp_path, "top.csv", layout="long"))
    assert header == NAMES
    assert [(u, int(r), i, t, np.float32(s), o, v) for u, r, i, t, s, o, v in rows] == LONG


def test_parquet(tmp_path: Path) -> None:
    table = pq.read_table(str(write(tmp_path, "top.parquet")))
    assert [tuple(row.values()) for row in table.to_pylist()] == LONG
    assert (table.schema.field("rank").type, table.schema.field("score").type) == (pa.int32(), pa.float32())


def test_tfrecord(tmp_path: Path) -> None:
    path = write(tmp_path, "top.tfrecord")
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        texts = {name: [v.decode() for v in feature[name].bytes_list.value] for name in NAMES if name != "score"}
        assert (len(texts["user_id"]), texts["version"]) == (1, ["7"])
        scores = list(feature["score"].float_list.value)
        found += [
            (texts["user_id"][0], rank, item, title, score, texts["source"][0], "7")
            for rank, (item, title, score) in enumerate(zip(texts["item_id"], texts["title"], scores, strict=True), 1)
        ]
    assert found == LONG


@pytest.mark.slow
@pytest.mark.smoke
@given(texts=st.lists(st.text(alphabet=st.sampled_from('a ,"\r\n;ä🎬'), max_size=6), min_size=1, max_size=6))
def test_csv_holds_any_text(texts: list[str]) -> None:
    ids = pa.array([f"{number}{text}" for number, text in enumerate(texts)])
    rows = np.arange(len(texts), dtype=np.int32)[:, np.newaxis]
    answers = Answers({"user_id": ids}, rows, np.zeros(rows.shape, np.float32), pa.array(["user"] * len(texts)))
    for lines in (
        outputs.wide_lines(answers, {"item_id": ids, "title": ids}),
        outputs.long_lines(answers, {"item_id": ids, "title": ids}, "7"),
    ):
        file = io.BytesIO()
        outputs.write_lines(file, lines)
        _, *found = csv.reader(io.StringIO(file.getvalue().decode(), newline=""), strict=True)
        assert [row[0] for row in found] == ids.to_pylist()
        assert all(ids.to_pylist()[row] in found[row][1:] for row in range(len(texts)))


def test_the_answers_of_a_slice_are_written(tmp_path: Path) -> None:
    """Arrow's slices keep the whole buffers."""
    part = Answers(
        {"user_id": ANSWERS.asked["user_id"].slice(1, 1)},
        ANSWERS.rows[1:2],
        ANSWERS.scores[1:2],
        ANSWERS.sources.slice(1, 1),
    )
    output = output_of(tmp_path / "top.csv")
    write_part(output.path, output, part, ITEMS, "7")
    assert read_csv(output.path)[1:] == [[" bob, jr", 'd"e', "", ""]]


@pytest.mark.parametrize(
    ("file_format", "layout"), [("csv", "wide"), ("csv", "long"), ("parquet", "long"), ("tfrecord", None)]
)
def test_parts_put_together_are_one_file(tmp_path: Path, file_format: str, layout: str | None) -> None:
    output = output_of(tmp_path / f"top.{file_format}", None, layout)
    parts = [tmp_path / part_name(number, 2, output.format) for number in range(2)]
    for part in parts:
        write_part(part, output, ANSWERS, ITEMS, "7")
    put_together(parts, output, output.path)
    if file_format == "tfrecord":
        records = list(tf.data.TFRecordDataset(str(output.path)).as_numpy_iterator())
        assert records == outputs.examples(ANSWERS, ITEMS, "7") * 2
    elif file_format == "parquet":
        assert [tuple(row.values()) for row in pq.read_table(str(output.path)).to_pylist()] == LONG * 2
    else:
        header, *rows = read_csv(output.path)
        assert header[0] == "user_id"
        assert len(rows) == 2 * (len(WIDE) if layout == "wide" else len(LONG))
        assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    output = output_of(tmp_path / "top.csv")
    with pytest.raises(OSError, match="No space left"):
        write_part(output.path, output, ANSWERS, ITEMS, "7")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("top.csv", {}, ("csv", "wide", False)),
        ("top.CSV", {"layout": "long"}, ("csv", "long", False)),
        ("top.parquet", {}, ("parquet", "long", False)),
        ("top.pq", {"layout": "wide"}, ("parquet", "wide", False)),
        ("top.tfrecord", {}, ("tfrecord", "long", False)),
        ("top.txt", {"file_format": "csv"}, ("csv", "wide", False)),
        ("top", {"file_format": "parquet"}, ("parquet", "long", True)),
    ],
)
def test_what_a_name_means(tmp_path: Path, name: str, options: dict[str, str], expected: tuple[Any, ...]) -> None:
    assert output_of(tmp_path / name, **options) == Output(tmp_path / name, *expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("top", {}, "top: which format"),
        ("hdfs://bucket/top.csv", {}, "must be local or mounted"),
        ("top.xlsx", {}, "which format"),
        ("top.csv", {"file_format": "parquet"}, "its ending says csv, --format says parquet"),
        ("top.csv", {"file_format": "excel"}, "--format excel: it is csv, parquet, tfrecord"),
        ("top.csv", {"layout": "tall"}, "--layout tall: it is wide or long"),
        ("top.tfrecord", {"layout": "wide"}, "--layout: TFRecords have one layout"),
        ("folder.csv", {}, "folder.csv: is a folder"),
        ("mine", {"file_format": "csv"}, "mine: is there, and is no folder that"),
        ("file", {"file_format": "csv"}, "file: is there, and is no folder that"),
    ],
)
def test_a_name_that_means_nothing(tmp_path: Path, name: str, options: dict[str, str], message: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        output_of(Path(name) if ":" in name else tmp_path / name, **options)
