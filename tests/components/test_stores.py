"""Tables in object stores: S3 and Google Cloud Storage over HTTP."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components import stores
from components.errors import InputError
from components.tables import reading
from components.tables.formats import TableSettings
from kubeflow.sensor import newest_partition
from tests.components.stores import enter, new_bucket

pytestmark = [pytest.mark.slow, pytest.mark.smoke]
CSV = b"user_id,item_id\n" + b"".join(b"u%d,i%d\n" % (row, row) for row in range(50))


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket."""
    enter(request.getfixturevalue(request.param), monkeypatch)
    return str(new_bucket(request.param))


def put(uri: str, content: bytes) -> str:
    with stores.opened(uri) as (store, path):
        store.pipe_file(path, content)
    return uri


def rows(pattern: str, columns: list[str] | None = None) -> list[tuple[str, int]]:
    """The files that a pattern finds, and how many rows each has."""
    files = reading.find_files(pattern, "auto", "log")
    blocks = {
        file.path: [
            block
            for part in reading.parts(file)
            for block in reading.read_blocks(file, columns or ["user_id"], TableSettings(), part)
        ]
        for file in files
    }
    return [(path.rpartition("/")[2], sum(len(block.rows) for block in found)) for path, found in blocks.items()]


def test_files_folders_and_globs_are_read(bucket: str) -> None:
    put(f"{bucket}/log/part-0.csv", CSV)
    put(f"{bucket}/log/part-1.csv.gz", gzip.compress(CSV))
    put(f"{bucket}/log/_SUCCESS", b"")
    put(f"{bucket}/log/odd[1].csv", CSV)
    assert rows(f"{bucket}/log/part-0.csv") == [("part-0.csv", 50)]
    assert rows(f"{bucket}/log/part-*") == [("part-0.csv", 50), ("part-1.csv.gz", 50)]
    assert rows(f"{bucket}/log") == rows(f"{bucket}/log/*") == [("odd[1].csv", 50), *rows(f"{bucket}/log/part-*")]
    assert rows(f"{bucket}/log/odd[1].csv") == [("odd[1].csv", 50)]
    assert {file.size for file in stores.matching(f"{bucket}/log/part-0.csv")} == {len(CSV)}


def test_parquet_and_records_are_read(bucket: str, tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"user_id": [f"u{row}" for row in range(30)]}), sink, row_group_size=10)
    put(f"{bucket}/dt=2026-11-01/part.parquet", sink.getvalue().to_pybytes())
    assert rows(f"{bucket}/dt=*/*.parquet", ["user_id", "dt"]) == [("part.parquet", 30)]
    local = str(tmp_path / "part.tfrecord")
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"u"]))
    with tf.io.TFRecordWriter(local) as writer:
        for _ in range(7):
            writer.write(tf.train.Example(features=tf.train.Features(feature={"user_id": feature})).SerializeToString())
    with open(local, "rb") as file:
        put(f"{bucket}/part.tfrecord", file.read())
    assert rows(f"{bucket}/part.tfrecord") == [("part.tfrecord", 7)]


def test_the_newest_partition_is_told_by_names_and_an_empty_mark_by_its_time(bucket: str) -> None:
    for day in ("2026-9-30", "2026-10-1"):
        put(f"{bucket}/dt={day}/_SUCCESS", b"")
    found = newest_partition(f"{bucket}/dt=*/_SUCCESS")
    assert found.path == f"{bucket}/dt=2026-10-1"
    assert newest_partition(f"{bucket}/dt=*/_SUCCESS") == found
    time.sleep(1.1)  # S3 tells seconds
    put(f"{bucket}/dt=2026-10-1/_SUCCESS", b"")
    assert newest_partition(f"{bucket}/dt=*/_SUCCESS") != found


def test_a_digest_is_of_the_content_and_made_anew_after_a_change(bucket: str) -> None:
    put(f"{bucket}/log.csv", CSV)
    files = reading.find_files(f"{bucket}/log.csv", "auto", "log")
    before = reading.digest(files)
    assert before == reading.digest(files)
    put(f"{bucket}/log.csv", CSV.replace(b"u1,", b"u2,"))
    assert reading.digest(files) != before
    put(f"{bucket}/log.csv", CSV)
    assert reading.digest(files) == before


def test_what_is_not_there_is_said_at_once(bucket: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError, match=f"log: there is no file {bucket}/none.csv"):
        reading.find_files(f"{bucket}/none.csv", "auto", "log")
    with pytest.raises(InputError, match=f"{bucket}/none.csv: no such bucket or object"):
        reading.digest([stores.File(f"{bucket}/none.csv", 1, 0.0)])
    assert time.monotonic() - begun < 10


def test_a_kind_of_store_that_nobody_knows() -> None:
    with pytest.raises(
        InputError, match=r"log: nowhere://bucket/log.csv: nowhere:// is no kind of store that is known"
    ):
        reading.find_files("nowhere://bucket/log.csv", "auto", "log")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("S3://shop/x.csv", "S3:// is no kind of store that is known: write s3://shop/x.csv"),
        ("s3n://shop/x.csv", "s3n:// is no kind of store that is known: write s3://shop/x.csv"),
        ("postgresql://shop/x", "postgresql:// is no kind of store that is known: such as s3:// and gs:// are"),
        ("s3:///x.csv", "it must name its bucket, as s3://bucket/…, without wildcards"),
        ("gs://*/x.csv", "it must name its bucket, as gs://bucket/…, without wildcards"),
    ],
)
def test_what_names_no_store_or_bucket_is_refused(uri: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        stores.matching(uri)
    assert str(caught.value) == f"{uri}: {message}"
