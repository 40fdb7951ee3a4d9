"""An id is found in whatever files hold one, and nowhere else."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.local.forget.search import Ids, holds, is_damaged, is_text, search, table_holds

LONG, SHORT = "ann-the-first", "42"
"""One that is nothing else, and one that an item may have, too."""


def example(**features: str | int) -> bytes:
    made = tf.train.Example()
    for name, value in features.items():
        if isinstance(value, int):
            made.features.feature[name].int64_list.value.append(value)
        else:
            made.features.feature[name].bytes_list.value.append(value.encode())
    return made.SerializeToString()


def records(path: Path, *each: bytes) -> None:
    with tf.io.TFRecordWriter(str(path), "GZIP" if path.suffix == ".gz" else "") as writer:
        for record in each:
            writer.write(record)


def in_tar(path: Path, name: str) -> None:
    content = name.encode()
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("shop/1/assets/users.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def in_database(path: Path, name: str, column: str = "said") -> None:
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE t (n INT, {column} TEXT)")
        database.execute("INSERT INTO t VALUES (42, ?)", (name,))


WRITERS: dict[str, Callable[[Path, str], object]] = {
    "events.gz": lambda path, name: records(path, example(user_id="bob"), example(user_id=name, item_id="a")),
    "tf_serving_warmup_requests": lambda path, name: records(path, example(user_id=name)),
    "rows.parquet": lambda path, name: pq.write_table(pa.table({"n": [1, 2], "user": ["bob", name]}), path),
    "lists.parquet": lambda path, name: pq.write_table(pa.table({"users": [["bob"], [name, "eve"]]}), path),
    "answers.jsonl": lambda path, name: path.write_text('{"user": "bob"}\n' + json.dumps({"user": name}) + "\n"),
    "report.json": lambda path, name: path.write_text(json.dumps({"of": {"user": [name, 3]}})),
    "answers.csv": lambda path, name: path.write_text(f"user_id,item_id\nbob,a\n{name},b\n"),
    "rejected.csv": lambda path, name: path.write_text(f'source,line\nlog.csv,"{name},a,never"\n'),
    "users.txt": lambda path, name: path.write_text(f"bob\n{name}\neve"),
    "run.log": lambda path, name: path.write_text(f"such as '{name}': set trim: true"),
    "page.html": lambda path, name: path.write_text(f"<h3>User <bdi>{name}</bdi></h3>"),
    "users.npz": lambda path, name: np.savez_compressed(path, users=np.array(["bob", name])),
    "shop.tar.gz": in_tar,
    "metadata.sqlite": lambda path, name: in_database(path, f"such as '{name}'"),
    "settings.sqlite": lambda path, name: in_database(path, json.dumps({"user": name})),
    "FeatureStats.pb": lambda path, name: path.write_bytes(b"\x0a" + bytes([len(name)]) + name.encode() + b"\0"),
}


@pytest.mark.parametrize("name", [LONG, SHORT])
@pytest.mark.parametrize("file", WRITERS)
def test_an_id_is_found(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    WRITERS[file](path, name)
    assert holds(Ids(["nobody else", name]), path)
    assert search(Ids([name]), [tmp_path, tmp_path / "none"]) == [path]
    assert not holds(Ids(["nobody else", "43"]), path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("items.txt", b"41\n42\n43"),
        ("report.json", b'{"users": 42, "item": "42", "seconds": "42 s", "of": {"num_users": 42}}'),
        ("run.log", b"42 events of 42 users, seed 42, 1.42 s, item '424'"),
        ("answers.csv", b"user_id,item_id\n7,42\n"),
        ("weights.data", bytes(range(256)) * 4 + b"\x0242"),
    ],
)
def test_a_number_is_not_a_user_where_nothing_says_so(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    assert not holds(Ids([SHORT]), tmp_path / file)


def test_items_of_the_same_name_are_no_users(tmp_path: Path) -> None:
    records(tmp_path / "events.gz", example(user_id="7", item_id="42", timestamp=42))
    pq.write_table(pa.table({"user_id": [7], "item_id": ["42"], "n": [42]}), tmp_path / "rows.parquet")
    assert search(Ids([SHORT]), [tmp_path]) == []
    assert len(search(Ids(["7"]), [tmp_path])) == 2


@pytest.mark.parametrize("name", ['say "hi" to', "ümläut-🎬", "<b>bold</b>", "tab\there it is", "back\\slash"])
def test_an_id_is_found_as_files_write_it(tmp_path: Path, name: str) -> None:
    import html

    (tmp_path / "a.jsonl").write_text(json.dumps({"user": name}) + "\n")
    (tmp_path / "b.html").write_text(f"<p>{html.escape(name)}</p>")
    (tmp_path / "c.log").write_text(f"users such as {name!r}")
    (tmp_path / "d.bin").write_bytes(b"\xff\0" + name.encode())
    assert [path.name[0] for path in search(Ids([name]), [tmp_path])] == ["a", "b", "c", "d"]
    assert search(Ids([name + "x"]), [tmp_path]) == []


def test_a_part_of_a_longer_id_is_another(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text("user ann-the-first-of-all and user ann-the-firstborn")
    assert holds(Ids([LONG]), tmp_path / "run.log")  # a hyphen may end it
    longer = f"{LONG}born"
    (tmp_path / "run.log").write_text(f"user {longer}")
    WRITERS["FeatureStats.pb"](tmp_path / "FeatureStats.pb", longer)
    (tmp_path / "weights.data").write_bytes(b"\0\xff" + longer.encode())
    assert search(Ids([LONG]), [tmp_path]) == []
    assert len(search(Ids([longer]), [tmp_path])) == 3
    (tmp_path / f"of {LONG}.txt").write_text("")
    assert search(Ids([LONG]), [tmp_path]) == [tmp_path / f"of {LONG}.txt"]


VALUES = {
    "dictionary": lambda names: pa.array(names).dictionary_encode(),
    "bytes": lambda names: pa.array([name.encode() for name in names]),
    "lists of a dictionary": lambda names: pa.ListArray.from_arrays([0, 0, 1, 2], VALUES["dictionary"](names)),
    "a struct": lambda names: pa.array([{"n": 1, "id": name} for name in names]),
    "a map": lambda names: pa.array([[(name, 7)] for name in names], pa.map_(pa.string(), pa.int64())),
    "chunks": lambda names: pa.chunked_array([names[:1], names[1:]]),
}


@pytest.mark.parametrize("name", [LONG, SHORT])
@pytest.mark.parametrize("values", VALUES)
def test_an_id_is_found_however_a_table_holds_it(tmp_path: Path, values: str, name: str) -> None:
    made = VALUES[values](["bob", name])
    pq.write_table(pa.table({"user": made}), tmp_path / "rows.parquet")
    read = pq.read_table(tmp_path / "rows.parquet")
    assert table_holds(Ids([name]), read).tolist() == [False] * (len(made) - 1) + [True]
    assert holds(Ids([name]), tmp_path / "rows.parquet")
    assert not holds(Ids(["nobody else"]), tmp_path / "rows.parquet")


def test_numbers_of_users_and_words_are_found_in_tables() -> None:
    table = pa.table({"user_id": [7.0, None, 42.0], "said": [f"such as '{LONG}'", None, "nothing"], "n": [42.0, 1, 1]})
    assert table_holds(Ids(["42"]), table).tolist() == [False, False, True]
    assert table_holds(Ids([LONG]), table).tolist() == [True, False, False]
    great = 2**60 + 1
    assert table_holds(Ids([str(great)]), pa.table({"user": [great - 1, great]})).tolist() == [False, True]


@pytest.mark.parametrize("codec", ["gzip", "bz2", "xz", "zstd", "lz4"])
def test_an_id_is_found_whatever_the_file_is_packed_in(tmp_path: Path, codec: str) -> None:
    path = tmp_path / f"answers.jsonl.{codec}"
    lines = "".join(json.dumps({"user": name}) + "\n" for name in ("bob", SHORT, LONG)).encode()
    if codec == "xz":
        path.write_bytes(lzma.compress(lines))
    else:
        with pa.CompressedOutputStream(str(path), codec) as file:
            file.write(lines)
    assert holds(Ids([LONG]), path)
    assert not holds(Ids(["nobody else"]), path)


@pytest.mark.parametrize("other", ["ann@x.com.au", "jo-ann@x.com", "ann@x.com-2"])
def test_values_are_compared_with_whole_ids(tmp_path: Path, other: str) -> None:
    ids = Ids(["ann@x.com"])
    (tmp_path / "a.jsonl").write_text(json.dumps({"visitor": other, "user": "ann@x.com et al"}) + "\n")
    (tmp_path / "b.csv").write_text(f"user_id,said\n{other},of {other}\n")
    (tmp_path / "users.txt").write_text(f"{other}\nmy ann@x.com\nu🎬")
    records(tmp_path / "tf_serving_warmup_requests", request(other))
    assert search(ids, [tmp_path]) == []
    (tmp_path / "c.csv").write_text("n,said\n1,of ann@x.com.\n")
    (tmp_path / "d.json").write_text('{"reason": "(ann@x.com) is a bot"}')
    records(tmp_path / "tf_serving_warmup_requests", request("ann@x.com"))
    assert [path.name[0] for path in search(ids, [tmp_path])] == ["c", "d", "t"]


def request(user: str) -> bytes:
    """A request to a model server, as a servable has it for its warm-up."""
    log = prediction_log_pb2.PredictionLog()
    inputs = log.predict_log.request.inputs
    inputs["user_id"].CopyFrom(tf.make_tensor_proto([user]))
    inputs["history"].CopyFrom(tf.make_tensor_proto([[f"of {user}"]]))
    return log.SerializeToString()


def test_text_is_text_wherever_its_beginning_is_cut() -> None:
    whole = "ä🎬é".encode()
    assert all(is_text(whole[:size]) for size in range(len(whole) + 1))
    assert not any(map(is_text, (b"a\0", b"\xff", b"\x80a")))


def test_who_knows_what_a_damaged_file_holds(tmp_path: Path) -> None:
    rows = [f"user {number}" for number in range(999)]
    pq.write_table(pa.table({"user": rows}), tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-9])
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    np.save(tmp_path / "pickled.npy", np.array([LONG], object))
    (tmp_path / "no.sqlite").write_bytes(b"SQLite format 3\0" + bytes(99))
    zipped = bytearray(gzip.compress(np.random.default_rng(0).bytes(5_000)))
    zipped[2_000:2_050] = bytes(50)
    (tmp_path / "other.gz").write_bytes(zipped)
    damaged = sorted(tmp_path.iterdir())
    (tmp_path / "whole.txt").write_text("nobody")
    assert search(Ids([LONG]), [tmp_path]) == damaged
    assert [path for path in sorted(tmp_path.iterdir()) if is_damaged(path)] == damaged
    (tmp_path / "deep.json").write_text("[" * 20_000 + f'"{LONG}"' + "]" * 20_000)
    assert holds(Ids([LONG]), tmp_path / "deep.json")


def test_what_is_cut_or_damaged_is_searched_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(f"user {LONG}\n".encode() * 100)[:-4])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"user": 1}\n') + gzip.compress(b'{"user": "42"}\n')[:-4])
    (tmp_path / "empty").touch()
    (tmp_path / "cut.json").write_text('{"user": "ann-the-first')
    assert [path.name for path in search(Ids([LONG]), [tmp_path])] == ["cut.gz", "cut.json"]
    assert [path.name for path in search(Ids([SHORT]), [tmp_path])] == ["cut.jsonl.gz"]
