"""Reading tables: odd files, exact row numbers, clear errors."""

import bz2
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import InputError
from components.tables import reading


def read(path, columns, delimiter=","):
    """Returns rows by number {row: values} and the malformed rows of a file."""
    (file,) = reading.find_files(str(path), "auto", "log")
    rows, malformed = {}, []
    for part in reading.parts(file):
        for block in reading.read_blocks(file, columns, delimiter, part):
            values = zip(*(block.columns[column].to_pylist() for column in columns))
            rows.update(dict(zip(block.rows.tolist(), values)))
            malformed += block.malformed
    return rows, malformed


def test_csv_with_bom_crlf_quotes_empty_lines_and_malformed_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(
        b"\xef\xbb\xbfa,b,c\r\n"  # row 1
        b'1,"x,y",3\r\n'
        b"\r\n"
        b"2,too few\r\n"
        b'3,"say ""hi""",5\r\n'
        b"4,\xff\xfe,6\r\n"
        b"5,\xff,too,many\r\n"
        b'6,5" floppy,7\r\n'
        b"\r\n"
    )
    rows, malformed = read(path, ["a", "b"])
    mark = reading.NOT_UTF8
    assert rows == {2: ("1", "x,y"), 5: ("3", 'say "hi"'), 6: ("4", mark * 2), 8: ("6", '5" floppy')}
    assert [(bad.row, bad.reason) for bad in malformed] == [(4, "2 columns instead of 3"), (7, "not UTF-8")]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.booleans(), min_size=1, max_size=25),
    st.sampled_from([24, 1 << 20]),
)
def test_row_numbers_are_exact_around_malformed_rows_and_blocks(tmp_path_factory, good, block):
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    path.write_text("a,b\n" + "".join(f"{k},{k}\n" if fine else f"{k}\n" for k, fine in enumerate(good)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_BLOCK_BYTES", block)
        rows, malformed = read(path, ["b"])
    assert rows == {k + 2: (str(k),) for k, fine in enumerate(good) if fine}
    assert [bad.row for bad in malformed] == [k + 2 for k, fine in enumerate(good) if not fine]


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_characters_and_quoted_line_breaks_across_blocks_stay_whole(tmp_path, monkeypatch, block):
    path = tmp_path / "log.csv"
    path.write_bytes('a,b\n😀é,"x\n\ny"\n2,'.encode() + b"\xf0\x9f")
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block)
    rows, malformed = read(path, ["a", "b"])
    assert list(rows.values()) == [("😀é", "x\n\ny"), ("2", reading.NOT_UTF8)]
    assert not malformed


@pytest.mark.slow
@pytest.mark.smoke
def test_a_reader_that_is_dropped_early_does_not_hang(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n" + "1,2\n" * 8_000_000)  # some blocks
    (file,) = reading.find_files(str(path), "auto", "log")
    block = next(reading.read_blocks(file, ["b"], ","))
    assert block.rows[0] == 2
    assert 1_000_000 < len(block.rows) < 8_000_000


def test_no_newline_at_the_end_and_a_single_column(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a\nx\n\ny")
    assert read(path, ["a"]) == ({2: ("x",), 4: ("y",)}, [])


@pytest.mark.parametrize("rest", ["", "7,8\n" * 10])
def test_an_unclosed_quote_is_not_taken_for_the_rest_of_the_file(tmp_path, rest):
    path = tmp_path / "log.csv"
    path.write_text('a,b\n1,2\n5,"6\n' + rest)
    with pytest.raises(InputError, match=r"log\.csv: a quote is opened and not closed"):
        read(path, ["a", "b"])


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_compressed_csv(tmp_path, suffix, compress):
    path = tmp_path / f"log.csv.{suffix}"
    path.write_bytes(compress(b"a,b\n1,2\n"))
    assert read(path, ["b"]) == ({2: ("2",)}, [])


def test_a_truncated_archive_is_an_input_error(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5000)[:-20])
    with pytest.raises(InputError, match=r"log\.csv\.gz can't be read as csv"):
        read(path, ["b"])


def test_parquet_row_groups_and_types(tmp_path):
    path = tmp_path / "log.parquet"
    table = pa.table({"id": [1, 10**18, None], "tags": [["a", "b"], [], None], "x": pa.array([1.5, None, 2])})
    pq.write_table(table, path, row_group_size=2)
    rows, _ = read(path, ["id", "tags"])
    assert rows == {1: (1, ["a", "b"]), 2: (10**18, []), 3: (None, None)}


def test_tfrecords(tmp_path):
    import tensorflow as tf

    def feature(*values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    path = tmp_path / "log.tfrecord.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for features in ({"a": feature(b"x")}, {"a": feature(), "b": feature("é".encode(), b"\xff")}, {}):
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    rows, _ = read(path, ["a", "b"])
    assert rows == {1: (["x"], []), 2: ([], ["é", reading.NOT_UTF8]), 3: ([], [])}


def test_files_are_sorted_hidden_ones_left_out_and_commas_are_plain(tmp_path):
    for name in ("b,1.csv", "a[1].csv", "_SUCCESS", ".crc"):
        (tmp_path / name).write_text("x")
    names = [file.path.rsplit("/", 1)[-1] for file in reading.find_files(f"{tmp_path}/*", "csv", "log")]
    assert names == ["a[1].csv", "b,1.csv"]
    assert len(reading.find_files(f"{tmp_path}/a[1].csv", "csv", "log")) == 1
    assert len(reading.find_files(f"{tmp_path}/b,1.csv", "csv", "log")) == 1


@pytest.mark.parametrize("pattern", ["log-*.csv", "log-[12].csv", "*/log-?.csv", "a/*.csv", "./log-1*"])
def test_a_relative_glob_stands_for_files_below_the_current_folder(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a" if "/" in pattern.removeprefix("./") else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "log-1.csv").write_text("u,i\n")
    where = pattern.rpartition("/")[0].replace("*", "a")
    [file] = reading.find_files(pattern, "csv", "log")
    assert (file.path, file.size) == (f"{where}/log-1.csv" if where else "log-1.csv", 4)
    assert reading.column_names(file, ",") == ["u", "i"]


def test_a_missing_an_empty_and_an_unknown_file(tmp_path):
    with pytest.raises(InputError, match=r"interactions: there is no file .*gone\.csv"):
        reading.find_files(str(tmp_path / "gone.csv"), "auto", "interactions")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=r"empty\.csv is empty"):
        reading.find_files(str(tmp_path / "*.csv"), "auto", "interactions")
    (tmp_path / "log.dat").write_text("x")
    with pytest.raises(InputError, match=r"format of .*log\.dat can't be told"):
        reading.find_files(str(tmp_path / "log.dat"), "auto", "interactions")
    with pytest.raises(InputError, match="is a folder: name the files in it"):
        reading.column_names(reading.find_files(str(tmp_path), "csv", "interactions")[0], ",")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"user_id,item,timestamp\n",
            "has no column 'item_id'; it has 'user_id', 'item', 'timestamp'; did you mean 'item'",
        ),
        (b"user_id,ITEM_ID\n", "did you mean 'ITEM_ID'"),
        (b"user_id;item_id\n", "its delimiter looks like ';', not ','"),
        (b"item_id,user_id,item_id\n", "more than one column 'item_id'"),
        ("user_id,item_id\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        (b"user_id,\xff\n", "the header is not UTF-8"),
    ],
)
def test_a_wrong_header(tmp_path, content, message):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    (file,) = reading.find_files(str(path), "auto", "log")
    with pytest.raises(InputError) as caught:
        reading.check_columns(file, ["user_id", "item_id"], ",")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["log.parquet", "log.tfrecord"])
def test_a_file_that_is_not_of_its_format(tmp_path, name):
    (tmp_path / name).write_text("user_id,item_id\n" * 20)
    (file,) = reading.find_files(str(tmp_path / name), "auto", "log")
    with pytest.raises(InputError, match=f"{name} can't be read as "):
        reading.column_names(file, ",")


def test_json_lines_with_bom_crlf_empty_lines_and_what_is_no_object(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": "x, \\"y\\"", "b": 123456789012345678901234567890123456789}\r\n'  # row 1
        b"\r\n"
        b'{"b": 4.50, "c": [1]}\n'
        b'{"a": "cut off\n'
        b'["a"]\n'
        b'{"a": {"deep": 1}}\n'
        b'{"a": "\\ud83d", "b": 1}\n'
        b'{"a": "\\ud83d\\ude00", "b": NaN}\n'
        b'{"a": true, "b": "\xff"}'
    )
    rows, malformed = read(path, ["a", "b"])
    assert rows == {
        1: ('x, "y"', "123456789012345678901234567890123456789"),
        3: (None, "4.50"),
        8: ("😀", None),
        9: ("true", reading.NOT_UTF8),
    }
    assert [(bad.row, bad.reason) for bad in malformed] == [
        (4, "not JSON"),
        (5, "not a JSON object"),
        (6, "a is a JSON object"),
        (7, "not UTF-8"),
    ]


@pytest.mark.parametrize("name", ["log.json", "log.ndjson", "log.jsonl.gz"])
def test_columns_of_json_lines_are_the_keys_of_its_rows(tmp_path, name):
    path = tmp_path / name
    content = b'{"User": "u", "Genres": ["Art", 1, null]}\n{"User": "v", "ISBN": "b"}\n'
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (file,) = reading.find_files(str(path), "auto", "log")
    assert reading.column_names(file, ",") == ["User", "Genres", "ISBN"]
    with pytest.raises(InputError, match=r"no column 'Isbn'.*did you mean 'ISBN'"):
        reading.check_columns(file, ["Isbn"], ",")
    rows, _ = read(path, ["ISBN", "Genres"])
    assert rows == {1: (None, ["Art", "1", None]), 2: ("b", None)}


@pytest.mark.parametrize("block", [1, 7, 40])
def test_lines_of_json_across_blocks_stay_whole(tmp_path, monkeypatch, block):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"a": "{number}é"}}\n' for number in range(9)) + "\n", encoding="utf-8")
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block)
    rows, malformed = read(path, ["a"])
    assert rows == {number + 1: (f"{number}é",) for number in range(9)}
    assert not malformed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"a": 1},\n{"a": 2}\n]\n', "one JSON array"),
        ('{\n "a": 1\n}\n', "not JSON lines"),
        ("a,b\n1,2\n", "not JSON lines"),
    ],
)
def test_json_that_is_not_lines_is_named(tmp_path, content, message):
    path = tmp_path / "log.json"
    path.write_text(content)
    (file,) = reading.find_files(str(path), "auto", "log")
    with pytest.raises(InputError, match=message):
        reading.check_columns(file, ["a"], ",")
