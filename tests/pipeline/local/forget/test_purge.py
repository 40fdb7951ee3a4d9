"""Files without the users that they held."""

from __future__ import annotations

import csv
import fcntl
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.local.forget.purge import purge, rename_lines, without
from pipeline.local.forget.search import Ids, holds, records
from tests.pipeline.local.forget.test_search import LONG, SHORT, WRITERS, example
from tests.pipeline.local.forget.test_search import records as write_records


@pytest.mark.parametrize("name", [LONG, SHORT])
@pytest.mark.parametrize("file", [file for file in WRITERS if not file.startswith("users") and "." in file])
def test_rows_go_and_other_files_are_left(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    WRITERS[file](path, name)
    before = path.read_bytes()
    done = purge(Ids([name]), path)
    assert done == (path.suffix in (".gz", ".parquet", ".jsonl", ".json", ".csv") and "tar" not in file)
    assert holds(Ids([name]), path) != done
    assert done or path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_of_others_is_as_it_was(tmp_path: Path) -> None:
    kept = [example(user_id="bob", item_id=str(number)) for number in range(3)]
    write_records(tmp_path / "events.gz", kept[0], example(user_id="42"), *kept[1:])
    table = pa.table({"user_id": ["bob", "42", None], "item_id": ["a", "b", "42"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "a.csv").write_bytes(b'user_id,t\nbob,"1,5"\n42,x\n\xff,y\n')
    for path in tmp_path.iterdir():
        assert purge(Ids(["42"]), path)
    with gzip.open(tmp_path / "events.gz") as file:
        assert [*records(io.BytesIO(file.read()))] == kept
    read = [*tf.data.TFRecordDataset(str(tmp_path / "events.gz"), "GZIP").as_numpy_iterator()]
    assert read == kept, "TensorFlow reads it too"
    assert pq.read_table(tmp_path / "rows.parquet").equals(table.take([0, 2]))
    assert (tmp_path / "a.csv").read_bytes() == b'user_id,t\nbob,"1,5"\n\xff,y\n'


def test_others_with_a_longer_id_stay(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"user": "{name}"}}\n' for name in ("ann@x.com", "ann@x.com.au")))
    (tmp_path / "a.csv").write_text("visitor\nann@x.com.au\nann@x.com\n")
    for path in tmp_path.iterdir():
        assert purge(Ids(["ann@x.com"]), path)
    assert (tmp_path / "a.jsonl").read_text() == '{"user": "ann@x.com.au"}\n'
    assert (tmp_path / "a.csv").read_text() == "visitor\nann@x.com.au\n"
    document = {"users": ["ann@x.com", "ann@x.com.au"], "said": "ann@x.com, ann@x.com.au"}
    assert without(Ids(["ann@x.com"]), document) == {
        "users": ["", "ann@x.com.au"],
        "said": "[forgotten], ann@x.com.au",
    }


@pytest.fixture
def narrow() -> Iterator[None]:
    """Python's own limit of a value in CSV, which is the process's: reading a log raises it."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


def test_rows_of_zipped_files_go_and_what_is_damaged_is_left(tmp_path: Path, narrow: None) -> None:
    lines, rows = f'{{"user": "bob"}}\n{{"user": "{LONG}"}}\n', f"user_id\nbob\n{LONG}\n"
    (tmp_path / "answers.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(rows.encode()))
    for path in tmp_path.iterdir():
        assert purge(Ids([LONG]), path)
    assert gzip.decompress((tmp_path / "answers.jsonl.gz").read_bytes()) == b'{"user": "bob"}\n'
    assert gzip.decompress((tmp_path / "rows.csv.gz").read_bytes()) == b"user_id\nbob\n"
    for name, content in (
        ("cut.jsonl.gz", gzip.compress(lines.encode())[:-4]),
        ("cut.parquet", b"PAR1"),
        ("wide.csv", f"user_id\n{'x' * 200_000}\n".encode()),
    ):
        (tmp_path / name).write_bytes(content)
        assert not purge(Ids([LONG]), tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 5, "nothing else is left"


def test_a_file_of_answers_that_is_being_written_is_left(tmp_path: Path) -> None:
    path = tmp_path / "answers-1.jsonl.part"
    path.write_text(json.dumps({"user": "bob"}) + "\n" + json.dumps({"user": LONG}) + "\n")
    with open(path) as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        assert not purge(Ids([LONG]), path)
    assert purge(Ids([LONG]), path)
    assert path.read_text() == '{"user": "bob"}\n'


def test_no_other_line_of_a_vocabulary_gets_another_number(tmp_path: Path) -> None:
    (tmp_path / "user_id").write_bytes(b"ann\n42\nbob\n")
    rename_lines(Ids(["42"]), tmp_path / "user_id")
    first, renamed, *rest = (tmp_path / "user_id").read_bytes().split(b"\n")
    assert (first, rest) == (b"ann", [b"bob", b""])
    assert len(renamed) == len("forgotten-") + 16


def test_a_document_names_nobody() -> None:
    document = {"user": ["42", 7], "user_id": 42, "num_users": 42, "item": "42", "by_user": {"42": 1, "bob": 2}}
    assert without(Ids(["42"]), document) == {
        "user": ["", 7],
        "num_users": 42,
        "item": "42",
        "by_user": {"bob": 2},
    }
    assert without(Ids([LONG]), {"said": f"such as {LONG!r}"}) == {"said": "such as '[forgotten]'"}
