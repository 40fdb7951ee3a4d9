"""Reading tables: odd files, exact row numbers, clear errors."""

import base64
import bz2
import csv
import gzip
import tarfile
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import InputError
from components.tables import reading
from components.tables.formats import TableSettings

PLAIN = TableSettings()


def read(path, columns, **how):
    """Returns rows by number {row: values} and the malformed rows of a file."""
    (file,) = reading.find_files(str(path), "auto", "log")
    rows, malformed = {}, []
    for part in reading.parts(file):
        for block in reading.read_blocks(file, columns, TableSettings(**how), part):
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
    assert [(bad.row, bad.reason) for bad in malformed] == [
        (4, "2 columns instead of 3"),
        (7, "not UTF-8 (see encoding)"),
    ]


@pytest.mark.slow
@pytest.mark.smoke
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
    block = next(reading.read_blocks(file, ["b"], PLAIN))
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


def test_parquet_lists_of_one_length_with_a_null_among_them(tmp_path):
    lists = [[1.0, 2.0], None, [3.0, 4.0]]
    table = pa.table({"id": ["a", "b", "c"], "v": pa.array(lists, pa.list_(pa.float32()))})
    # As newer Arrow writes them; Arrow 10 can neither write nor read them.
    as_written = pa.schema({"id": pa.string(), "v": pa.list_(pa.float32(), 2)}).serialize()
    path = tmp_path / "items.parquet"
    pq.write_table(table.replace_schema_metadata({"ARROW:schema": base64.b64encode(as_written)}), path)
    [file] = reading.find_files(str(path), "auto", "items")
    assert reading.column_names(file, TableSettings()) == ["id", "v"]
    [block] = reading.read_blocks(file, ["v", "id"], TableSettings())
    assert {name: column.to_pylist() for name, column in block.columns.items()} == {"v": lists, "id": ["a", "b", "c"]}


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
    assert reading.column_names(file, PLAIN) == ["u", "i"]


def test_a_missing_an_empty_and_an_unknown_file(tmp_path):
    with pytest.raises(InputError, match=r"interactions: there is no file .*gone\.csv"):
        reading.find_files(str(tmp_path / "gone.csv"), "auto", "interactions")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=r"empty\.csv is empty"):
        reading.find_files(str(tmp_path / "*.csv"), "auto", "interactions")
    (tmp_path / "log.dat").write_text("x")
    with pytest.raises(InputError, match=r"format of .*log\.dat can't be told"):
        reading.find_files(str(tmp_path / "log.dat"), "auto", "interactions")


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
        reading.check_columns(file, ["user_id", "item_id"], PLAIN)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["log.parquet", "log.tfrecord"])
def test_a_file_that_is_not_of_its_format(tmp_path, name):
    (tmp_path / name).write_text("user_id,item_id\n" * 20)
    (file,) = reading.find_files(str(tmp_path / name), "auto", "log")
    with pytest.raises(InputError, match=rf"{name} (can't be read as|is no Parquet file)"):
        reading.column_names(file, PLAIN)


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
        (6, "a is a JSON object: name one of its keys, as a.key"),
        (7, "not UTF-8 (see encoding)"),
    ]


@pytest.mark.parametrize("name", ["log.json", "log.ndjson", "log.jsonl.gz"])
def test_columns_of_json_lines_are_the_keys_of_its_rows(tmp_path, name):
    path = tmp_path / name
    content = b'{"User": "u", "Genres": ["Art", 1, null]}\n{"User": "v", "ISBN": "b"}\n'
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    (file,) = reading.find_files(str(path), "auto", "log")
    assert reading.column_names(file, PLAIN) == ["User", "Genres", "ISBN"]
    with pytest.raises(InputError, match=r"no column 'Isbn'.*did you mean 'ISBN'"):
        reading.check_columns(file, ["Isbn"], PLAIN)
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
        reading.check_columns(file, ["a"], PLAIN)


def test_a_file_without_a_header_and_with_delimiters_of_several_characters(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("1::a:b::x\n2::c::y\n\n3::d\n")
    rows, malformed = read(path, ["u", "i"], delimiter="::", names=("u", "i", "z"))
    assert rows == {1: ("1", "a:b"), 2: ("2", "c")}
    assert [(bad.row, bad.reason) for bad in malformed] == [(4, "2 columns instead of 3")]
    (file,) = reading.find_files(str(path), "csv", "log")
    for how, message in (
        ({"delimiter": "::"}, "the first row looks like data: has the file a header"),
        ({}, "its delimiter looks like '::', not ','; the first row looks like data"),
        ({"delimiter": "::", "names": ("u", "i")}, "names are 2, but the first row has 3 columns"),
        ({"delimiter": "::", "names": ("1", "a:b", "x")}, "has a header: leave out names"),
    ):
        with pytest.raises(InputError, match=rf"log\.csv.*{message}"):
            reading.check_columns(file, ["u"], TableSettings(**how))


@pytest.mark.parametrize(
    ("names", "rows"),
    [(["a", "b", "end"], ["x,y,", "z,w,"]), (["row", "a", "b"], ["1,x,y", "2,z,w"])],
)
@pytest.mark.parametrize("block", [4, 1 << 20])
def test_a_header_with_a_column_less_than_the_rows(tmp_path, monkeypatch, names, rows, block):
    """Where a delimiter ends each row, or each begins with an index, as R writes it."""
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block)
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["a,b", *rows]) + "\n")
    hint = "3 columns instead of 2 in each row, whose last may be empty or whose first an index: see names"
    assert [bad.reason for bad in read(path, ["a", "b"])[1]] == [hint] * 2
    assert read(path, ["a", "b"], names=names) == ({2: ("x", "y"), 3: ("z", "w")}, [])
    with pytest.raises(InputError, match=r"names are 3, but the first row has 2 columns: \['a', 'b'\]"):
        read(path, ["a", "c"], names=["a", "c", "d"])


def test_a_delimiter_at_the_end_of_the_header_too_is_an_empty_column(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b,\nx,y,\nz,w,\n")
    assert read(path, ["a", "b"]) == ({2: ("x", "y"), 3: ("z", "w")}, [])


def test_one_row_of_a_column_more_has_no_advice(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\nx,y\nz,w,v\n")
    assert [bad.reason for bad in read(path, ["a", "b"])[1]] == ["3 columns instead of 2"]


def test_blanks_that_mean_nothing(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('a , b\nx , "y, z "\n "NA","1""2"\n')
    assert read(path, ["a", "b"], trim=True, missing=["NA"]) == ({2: ("x", "y, z"), 3: (None, '1"2')}, [])
    with pytest.raises(InputError, match=r"did you mean ' b'\? \(or set trim: true\)"):
        read(path, ["b"])


def test_a_tail_after_a_quote_is_a_fault_and_a_stray_quote_stops(tmp_path):
    path = tmp_path / "items.tsv"
    path.write_text('id\ttitle\n1\tx\n2\t"Heroes" (2017)\n3\ty\n')
    rows, malformed = read(path, ["id"], delimiter="\t")
    assert rows == {2: ("1",), 4: ("3",)}
    assert [(bad.row, bad.reason) for bad in malformed] == [(3, "text after a closing quote (see quote and escape)")]
    assert list(read(path, ["title"], delimiter="\t", quote=None)[0].values()) == [("x",), ('"Heroes" (2017)',), ("y",)]
    # The swallowing column needn't be read.
    path.write_text('id\ttitle\n1\tx\n2\t"Heroes\n3\ty\n4\t"Heroes\n5\tz\n')
    with pytest.raises(InputError, match=r"items\.tsv, row 3: a value that begins with '\"Heroes' runs over 3 lines"):
        read(path, ["id"], delimiter="\t")
    assert len(read(path, ["id"], delimiter="\t", quote=None)[0]) == 5


def test_escaped_quotes_delimiters_and_missing_values(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text('"id";"title"\n1;"The \\"Best\\""\n2;a\\;b\n3;\\N\n4;"C:\\\\x\\y"\n5;two\\\nlines\n')
    assert read(path, ["id", "title"], delimiter=";", escape="\\")[0] == {
        2: ("1", 'The "Best"'),
        3: ("2", "a;b"),
        4: ("3", ""),
        5: ("4", "C:\\x\\y"),
        6: ("5", "two\nlines"),
    }
    malformed = read(path, ["id", "title"], delimiter=";")[1]
    assert (malformed[0].row, malformed[0].reason) == (2, "text after a closing quote (see quote and escape)")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_encodings(tmp_path, monkeypatch, encoding, name):
    word = "ソ表" if encoding == "shift_jis" else "naïve"  # the bytes of ソ and 表 end with that of a backslash
    text = f'{{"a": "{word}"}}\n' * 3 if name == "log.jsonl" else f"a,b\n{word},1\n{word},2\n"
    (tmp_path / name).write_bytes(text.encode(encoding))
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 5)
    rows, malformed = read(tmp_path / name, ["a"], encoding=encoding)
    assert set(rows.values()) == {(word,)}
    assert not malformed


def test_what_a_file_is_packed_by_is_told_by_its_content(tmp_path):
    for name, compress in (("a.csv", gzip.compress), ("b.csv.bz2", gzip.compress), ("c.csv.gz", bytes)):
        (tmp_path / name).write_bytes(compress(b"a,b\n1,2\n"))
        assert read(tmp_path / name, ["b"]) == ({2: ("2",)}, [])
    two = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")  # as logs that grow are packed
    (tmp_path / "d.csv.gz").write_bytes(two)
    assert read(tmp_path / "d.csv.gz", ["b"]) == ({2: ("2",), 3: ("4",)}, [])
    assert reading.find_files(str(tmp_path / "a.csv"), "auto", "log")[0].format == "csv"


@pytest.mark.parametrize(
    ("name", "pack", "message"),
    [
        ("log.csv", "zip", "is a ZIP archive or a spreadsheet: unpack it, or save it as CSV"),
        ("log.jsonl", "zip", "is a ZIP archive"),
        ("log.csv.gz", "tar", "is a TAR archive: unpack it"),
        ("log.csv", "parquet", "is a Parquet file: set format: parquet"),
        ("log.csv", "utf-16", "is UTF-16, not UTF-8: set encoding: utf-16"),
        ("log.jsonl", "utf-16", "is UTF-16"),
        ("log.csv", "utf-32", "is UTF-32, not UTF-8: set encoding: utf-32"),
        ("log.csv", "utf-16-le", "holds zero bytes: is it UTF-16 .set encoding: utf-16-le., or not CSV at all"),
        ("log.csv", "blank", "the first row is empty"),
        ("log.csv", "nothing", "is empty"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, pack, message):
    path = tmp_path / name
    if pack == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("log.csv", "a,b\n1,2\n")
    elif pack == "tar":
        (tmp_path / "inner.csv").write_text("a,b\n1,2\n")
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "inner.csv", "inner.csv")
    elif pack == "parquet":
        pq.write_table(pa.table({"a": [1]}), path)
    elif pack in ("blank", "nothing"):
        path.write_bytes(b"\na,b\n1,2\n" if pack == "blank" else b"\n\n")
    else:
        path.write_bytes("a,b\n1,2\n".encode(pack))
    (file,) = reading.find_files(str(path), "auto", "log")
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        reading.check_columns(file, ["a"], PLAIN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ARROW1\0\0", "is an Arrow file"),
        (b"\x04\x22\x4d\x18d@", "is packed by lz4"),
        (b"SQLite format 3\0", "is a database of SQLite"),
        (b"PK\x05\x06" + bytes(18), "is a ZIP archive without files"),
        (b"<!DOCTYPE html>\n<title>404</title>\n", "is HTML or XML, perhaps what a download that failed left"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "only points to a file in Git LFS"),
    ],
)
def test_other_files_are_known_by_what_they_hold(tmp_path, content, message):
    (tmp_path / "log.csv").write_bytes(content)
    (file,) = reading.find_files(str(tmp_path / "log.csv"), "auto", "log")
    with pytest.raises(InputError, match=rf"log\.csv {message}"):
        reading.check_columns(file, ["a"], PLAIN)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b'{"user_id": 1012, "item_id": 1}\n', "log.csv holds JSON, not CSV: set format: jsonl"),
        ("log.parquet", b"user_id,item_id\n1,2\n", "is no Parquet file: it begins as text does: set format: csv"),
        ("log.parquet", b'{"user_id": 1}\n', "is no Parquet file: it begins as text does: set format: jsonl"),
        ("log.parquet.gz", gzip.compress(b"PAR1", mtime=0), "is no Parquet file: it is packed as a whole: unpack it"),
        ("log.parquet", b"PAR1 and then an end", "log.parquet can't be read as parquet: "),
    ],
)
def test_a_name_that_tells_another_format(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    [file] = reading.find_files(str(tmp_path / name), "auto", "log")
    with pytest.raises(InputError) as caught:
        reading.check_columns(file, ["user_id"], PLAIN)
    assert message in str(caught.value)


def test_files_that_are_passed_over_are_said_to_be(tmp_path):
    for name in ("_a.csv", ".b.csv", "_c.csv"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(
        InputError, match=r"_\*\.csv has no files but such whose names begin with _ or \., which are passed over"
    ):
        reading.find_files(str(tmp_path / "_*.csv"), "auto", "log")
    with pytest.raises(InputError, match="has no files but such"):
        reading.find_files(str(tmp_path), "auto", "log")
    assert len(reading.find_files(str(tmp_path / "_a.csv"), "auto", "log")) == 1, "it is named itself"


def test_words_for_missing_values(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\nNA,1\nNAN,NULL\n,\\N\n")
    assert read(tmp_path / "log.csv", ["a", "b"], missing=("NA", "NULL", "\\N"))[0] == {
        2: (None, "1"),
        3: ("NAN", None),
        4: ("", None),
    }
    for table in (pa.table({"a": ["NA", "x"]}), pa.table({"a": pa.array(["NA", "x"]).dictionary_encode()})):
        pq.write_table(table, tmp_path / "log.parquet")
        assert read(tmp_path / "log.parquet", ["a"], missing=("NA",))[0] == {1: (None,), 2: ("x",)}
    (tmp_path / "log.jsonl").write_text('{"a": "NA"}\n{"a": "x"}\n')
    assert read(tmp_path / "log.jsonl", ["a"], missing=("NA",))[0] == {1: (None,), 2: ("x",)}


def test_objects_that_no_setting_names_are_no_fault_and_paths_name_what_is_in_them(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"u": "a", "style": {"Size": "7 oz"}, "genres": [{"name": "Art"}, {"name": "Pop"}]}\n'
        "{'u': 'b', 'style': None, 'genres': []}\n"  # as Python writes it
        '{"u": "c", "style.Size": "8 oz", "at": {"$date": "2020-09-13"}}\n'
        '{"u": ["d"], "style": {"Size": {"deep": 1}}}\n'
        "{'u': {1, 2}}\n"
    )
    assert read(path, ["u"])[0] == {1: (["a"],), 2: (["b"],), 3: (["c"],), 4: (["d"],)}
    rows, malformed = read(path, ["style.Size", "genres.name", "at.$date"])
    assert rows == {1: ("7 oz", ["Art", "Pop"], None), 2: (None, [], None), 3: ("8 oz", None, "2020-09-13")}
    assert [(bad.row, bad.reason) for bad in malformed] == [
        (4, "style.Size is a JSON object: name one of its keys, as style.Size.key"),
        (5, "not JSON"),
    ]
    (file,) = reading.find_files(str(path), "auto", "log")
    assert "style.Size" in reading.column_names(file, PLAIN)
    with pytest.raises(InputError, match=r"no column 'style\.Sise'.*did you mean 'style\.Size'"):
        reading.check_columns(file, ["style.Sise"], PLAIN)


def test_paths_into_structs_and_into_texts(tmp_path):
    style = pa.array([{"color": "red", "sizes": [1, 2]}, None])
    pq.write_table(pa.table({"style": style, "a.b": ["x", "y"], "id": [1, 2]}), tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet", ["id", "style.color", "style.sizes", "a.b"])[0] == {
        1: (1, "red", [1, 2], "x"),
        2: (2, None, None, "y"),
    }
    with pytest.raises(InputError, match=r"log\.parquet: column 'style\.size' is not there: size is no field"):
        read(tmp_path / "log.parquet", ["style.size"])
    text = pa.array(['{"color": "red"}', None]).dictionary_encode()
    pq.write_table(pa.table({"style": text}), tmp_path / "text.parquet")
    assert read(tmp_path / "text.parquet", ["style.color"])[0] == {1: ("red",), 2: (None,)}
    (tmp_path / "items.csv").write_text(
        "id,genres\n1,\"[{'id': 16, 'name': 'Art'}]\"\n2,[]\n3,\n4,\"[{'name': {'en': 'Pop'}}]\"\n"
    )
    rows, malformed = read(tmp_path / "items.csv", ["id", "genres.name"])
    assert rows == {2: ("1", ["Art"]), 3: ("2", []), 4: ("3", None)}
    assert [(bad.row, bad.reason) for bad in malformed] == [
        (5, "genres.name is a list of JSON objects: name one of their keys, as genres.name.key")
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_folders_tell_columns(tmp_path, suffix):
    for day, user in (("2020-09-14", "a"), ("2020-09-15", "b"), ("__HIVE_DEFAULT_PARTITION__", "c")):
        folder = tmp_path / f"dt={day}" / "shop=a%2Fb"
        folder.mkdir(parents=True)
        if suffix == "parquet":
            pq.write_table(pa.table({"u": [user]}), folder / "part-0.parquet")
        else:
            (folder / f"part-0.{suffix}").write_text(f"u\n{user}\n" if suffix == "csv" else f'{{"u": "{user}"}}\n')
    found = {}
    for file in reading.find_files(str(tmp_path), "auto", "log"):
        reading.check_columns(file, ["u", "dt", "shop"], PLAIN)
        for block in reading.read_blocks(file, ["dt", "u", "shop"], PLAIN):
            found[block.columns["u"][0].as_py()] = [block.columns[name][0].as_py() for name in ("dt", "shop")]
    assert found == {"a": ["2020-09-14", "a/b"], "b": ["2020-09-15", "a/b"], "c": [None, "a/b"]}


def test_what_a_folder_tells_is_for_the_rows_that_lack_it(tmp_path):
    (tmp_path / "dt=7").mkdir()
    (tmp_path / "dt=7" / "log.jsonl").write_text('{"u": 1}\n{"u": 2, "dt": "x"}\n')
    assert read(tmp_path / "dt=7" / "log.jsonl", ["u", "dt"])[0] == {1: ("1", "7"), 2: ("2", "x")}


def test_folders_as_spark_writes_them(tmp_path):
    folder = tmp_path / "events"
    for name, text in {
        "part-0.csv": "a,b\n1,2\n",
        "part-1.csv": "",
        "_SUCCESS": "",
        ".part-0.csv.crc": "x",
        "_temporary/0/part-9.csv": "half",
        "day=1/part-2.csv": "a,b\n3,4\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for pattern in (folder, f"{folder}/"):
        names = [file.path.removeprefix(f"{folder}/") for file in reading.find_files(str(pattern), "auto", "log")]
        assert names == ["day=1/part-2.csv", "part-0.csv"]
    days = reading.find_files(f"{folder}/day=*", "auto", "log")
    assert [file.path for file in days] == [f"{folder}/day=1/part-2.csv"]
    (folder / "part-3.csv").write_bytes(b"\n")  # without even a header
    files = reading.find_files(str(folder), "auto", "log")
    reading.check_table(files, ["a", "b"], PLAIN)
    assert [len(list(reading.read_blocks(file, ["a"], PLAIN))) for file in files] == [1, 1, 0]
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "0.json").write_text("{}")
    with pytest.raises(InputError, match=r"^log: .* is a Delta table"):
        reading.find_files(str(folder), "auto", "log")
    for kind, marker in (("a Hudi", ".hoodie/hoodie.properties"), ("an Iceberg", "metadata/v1.metadata.json")):
        (tmp_path / kind / marker).parent.mkdir(parents=True)
        (tmp_path / kind / marker).write_text("{}")
        with pytest.raises(InputError, match=f"is {kind} table"):
            reading.find_files(str(tmp_path / kind), "auto", "log")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is no file .*empty"):
        reading.find_files(str(tmp_path / "empty"), "auto", "log")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("LOG.CSV", "LOG.CSV"),
        ("LOG.CSV.GZ", "*.GZ"),
        ("a #1 [x]/log-1.csv", "a #1 [x]/log-*.csv"),
        ("a #1 [x]/log-1.csv", "a #1 [x]"),
        ("log [x]-1.csv", "log [x]-*.csv"),
        ("log.csv", "~/log.csv"),
    ],
)
def test_names_and_patterns_as_people_have_them(tmp_path, monkeypatch, name, pattern):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    content = b"a,b\n1,2\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    [file] = reading.find_files(pattern, "auto", "log")
    assert (file.format, file.path.removeprefix(f"{tmp_path}/")) == ("csv", name)
    [block] = reading.read_blocks(file, ["b"], PLAIN)
    assert block.columns["b"].to_pylist() == ["2"]


def test_a_uri_of_a_file_on_disk_is_its_path(tmp_path):
    (tmp_path / "log.csv").write_text("a\n1\n")
    [file] = reading.find_files(f"file://{tmp_path}/*.csv", "auto", "log")
    assert file.path == f"{tmp_path}/log.csv"


def test_a_key_that_one_json_file_lacks(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"u": "x"}\n')
    (tmp_path / "b.jsonl").write_text('{"u": "y", "tag": "z"}\n')
    files = reading.find_files(str(tmp_path), "auto", "log")
    reading.check_table(files, ["u", "tag"], PLAIN, each=False)
    blocks = [block for file in files for block in reading.read_blocks(file, ["u", "tag"], PLAIN)]
    assert [block.columns["tag"].to_pylist() for block in blocks] == [[None], ["z"]]
    with pytest.raises(InputError, match=r"a\.jsonl has no column 'tga'; it has 'u', 'tag'; did you mean 'tag'"):
        reading.check_table(files, ["u", "tga"], PLAIN, each=False)
    (tmp_path / "c.csv").write_text("u\nx\n")
    files = reading.find_files(str(tmp_path / "*.csv"), "auto", "log")
    with pytest.raises(InputError, match=r"c\.csv has no column 'tag'"):
        reading.check_table(files, ["u", "tag"], PLAIN)


def test_a_column_of_the_folders_alone(tmp_path):
    (tmp_path / "dt=1").mkdir()
    (tmp_path / "dt=1" / "a.csv").write_text("u\nx\ny\n")
    pq.write_table(pa.table({"u": ["x"]}), tmp_path / "dt=1" / "b.parquet")
    files = reading.find_files(str(tmp_path), "auto", "log")
    blocks = [block for file in files for block in reading.read_blocks(file, ["dt"], PLAIN)]
    assert [block.columns["dt"].to_pylist() for block in blocks] == [["1", "1"], ["1"]]


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("user_id||item_id", "its delimiter looks like '||', not ','"),
        ("user_id item_id", "its delimiter looks like ' ', not ','"),
        ("item_id#user_id", "its delimiter looks like '#', not ','"),
        ("item_id:at", "has no column 'user_id'; it has 'item_id:at'"),
        ('"item_id,user_id,at"', "each row stands in quotes as one value: take these off"),
        ("# exported in 2020", "its first row must be the header: take what stands above out of the file"),
        ("sep=,", "its first row must be the header"),
        ("'user_id','item_id'", 'its values stand in single quotes: set quote: "\'"'),
    ],
)
def test_what_may_be_wrong_with_a_header(tmp_path, header, hint):
    (tmp_path / "log.csv").write_text(f"{header}\na,b\n")
    (file,) = reading.find_files(str(tmp_path / "log.csv"), "auto", "log")
    with pytest.raises(InputError) as caught:
        reading.check_columns(file, ["user_id"], PLAIN)
    assert hint in str(caught.value)


def test_an_open_quote_is_named_with_its_row(tmp_path):
    (tmp_path / "log.csv").write_text('a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(
        InputError, match=r"log\.csv: a quote is opened and not closed, in row 3 or above it: set quote"
    ):
        read(tmp_path / "log.csv", ["a"])
    (tmp_path / "log.csv").write_text('u::t\nx::"a\nb::c"\ny::"open\nz::1\n')
    with pytest.raises(InputError, match=r"not closed, in row 3 or above it"):
        read(tmp_path / "log.csv", ["u"], delimiter="::")


def test_utf_8_is_not_taken_for_bytes_of_one_character_each(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\nJürgen,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"log\.csv is UTF-8, not iso8859-1: leave out encoding"):
        read(path, ["a"], encoding="latin-1")
    path.write_text("a,b\nplain,1\n")
    assert read(path, ["a"], encoding="latin-1")[0] == {2: ("plain",)}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("log.csv.zip", "is an archive: unpack it"),
        ("LOG.XLSX", "is a spreadsheet: save it as CSV"),
        ("log.avro", "is of a format that can't be read: save"),
    ],
)
def test_archives_and_spreadsheets_are_known_by_their_names(tmp_path, name, message):
    (tmp_path / name).write_text("PK")
    with pytest.raises(InputError, match=rf"{name} {message}"):
        reading.find_files(str(tmp_path / name), "auto", "log")


WRITERS = {
    "plain": ({}, {}),
    "all quoted, semicolons": ({"sep": ";", "quoting": csv.QUOTE_ALL}, {"delimiter": ";"}),
    "escaped quotes": (
        {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_NONNUMERIC},
        {"escape": "\\"},
    ),
    "single quotes": ({"quotechar": "'", "quoting": csv.QUOTE_ALL}, {"quote": "'"}),
    "tabs, CRLF": ({"sep": "\t", "lineterminator": "\r\n"}, {"delimiter": "\t"}),
    "UTF-16": ({"encoding": "utf-16"}, {"encoding": "utf-16"}),
    "mark of byte order, gzip": ({"encoding": "utf-8-sig", "compression": "gzip"}, {}),
    "no header": ({"header": False}, {"names": ("id", "text", "n")}),
    "NULL": ({"na_rep": "NULL"}, {"missing": ("NULL",)}),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_pandas_writes_is_read_alike(tmp_path, writer):
    write, how = WRITERS[writer]
    words = [
        "plain",
        'a "quoted" word',
        "it's",
        "semi;colon, comma\ttab",
        "Jürgen 😀",
        "two\nlines",
        "back\\slash",
        None,
    ]
    table = pd.DataFrame({"id": range(8), "text": words, "n": [1, 2, 3, 4, 5, 6, 7, None]})
    table.to_csv(tmp_path / "log.csv", index=False, **write)
    rows, malformed = read(tmp_path / "log.csv", ["id", "text", "n"], **how)
    expected = [word.replace("\n", "\r\n") if word and writer == "tabs, CRLF" else word for word in words]
    assert [(row[0], (row[1] or "").replace("\r\n", "\n")) for row in rows.values()] == [
        (str(number), (word or "").replace("\r\n", "\n")) for number, word in enumerate(expected)
    ]
    assert [row[2] or "" for row in rows.values()] == [f"{number}.0" for number in range(1, 8)] + [""]
    assert not malformed


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text("a1,;:\"'\\\n\r\t{}[] NÄ\x1f", max_size=80).map(str.encode),
        st.binary(max_size=60).map(lambda more: b"a,b\n1,2\n" + more),
        st.binary(max_size=60).map(lambda more: b'{"a": 1}\n' + more),
        st.binary(max_size=60).map(lambda more: gzip.compress(b"a,b\n1,2\n") + more),
    ),
    st.sampled_from(["csv", "jsonl", "parquet"]),
    st.sampled_from(
        [
            {},
            {"names": ("a", "b")},
            {"quote": None, "delimiter": "::"},
            {"escape": "\\", "delimiter": ";"},
            {"encoding": "utf-16"},
            {"encoding": "cp1252", "missing": ("1",)},
        ]
    ),
)
def test_random_bytes_are_read_or_refused(tmp_path_factory, content, suffix, how):
    path = tmp_path_factory.mktemp("random") / f"log.{suffix}"
    path.write_bytes(content)
    refused = str(path)
    try:
        read(path, ["a"], **how)
    except InputError as error:
        refused = str(error)
    assert str(path) in refused


@pytest.mark.parametrize("block", [3, 7, 1 << 20])
@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_that_end_by_any_mark_are_read_in_pieces(tmp_path, monkeypatch, block, end):
    path = tmp_path / "log.csv"
    path.write_bytes(end.join(["a,b", *(f"{number},é" for number in range(9)), '9,"x', 'y"', "10,z", ""]).encode())
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block)
    rows, malformed = read(path, ["a", "b"])
    assert rows == {
        **{number + 2: (str(number), "é") for number in range(9)},
        11: ("9", f"x{end}y"),
        12: ("10", "z"),
    }
    assert not malformed


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(reading, "_LONGEST_VALUE", 1000)
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n" + "x" * 5000)
    with pytest.raises(InputError, match=r"log\.csv: row 3 has no end: is it CSV\?"):
        read(path, ["a"])
    path.write_text('a,b\n1,"' + "x\n" * 5000)
    with pytest.raises(InputError, match=r"log\.csv: a quote is opened and not closed, in row 2 or above it"):
        read(path, ["a"])


def test_lines_are_found_from_any_place_of_plain_text(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"a\nbb\nccc")
    [file] = reading.find_files(str(path), "csv", "log")
    assert [reading.lines_before(file, start) for start in range(7)] == [0, 1, 1, 2, 2, 2, 3]
    assert reading.has_lines(file, TableSettings())
    assert not reading.has_lines(file, TableSettings(encoding="utf-16-le"))
    assert reading.compression(file) is None
    packed = tmp_path / "log.jsonl"
    packed.write_bytes(gzip.compress(b"{}"))
    [file] = reading.find_files(str(packed), "auto", "log")
    assert reading.compression(file) == "gzip"
    assert not reading.has_lines(file, TableSettings())


def test_reading_begins_at_a_place_with_the_next_line(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,é\n22,x\n333,y\n")
    [file] = reading.find_files(str(path), "csv", "log")
    found = {}
    for start in range(1, 17):
        blocks = reading.read_blocks(file, ["a"], TableSettings(), place=reading.Place(start, 40))
        found[start] = [(block.rows.tolist(), block.columns["a"].to_pylist()) for block in blocks]
    first = ([2, 3, 4], ["1", "22", "333"])
    assert [found[start] for start in (1, 4)] == [[first], [first]]
    assert found[5] == found[9] == [([2, 3], ["22", "333"])]
    assert found[10] == found[14] == [([2], ["333"])]
    assert found[15] == found[16] == []


def test_parquet_says_how_many_rows_it_has(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3]}), path)
    [file] = reading.find_files(str(path), "auto", "log")
    assert reading.count_rows(file) == 3
    [text] = reading.find_files(str(path), "csv", "log")
    assert reading.count_rows(text) is None
