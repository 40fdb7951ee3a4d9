"""Tables that other programs write come back as they were, and no bytes fill the memory."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.tables.columns import as_numbers, as_text
from components.tables.formats import TableSettings
from components.tables.reading import find_files, parts, read_blocks
from components.tables.times import as_times, guess_time_unit

EPOCH = datetime.datetime(1970, 1, 1)
LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
TEXT = st.text(
    st.one_of(
        st.sampled_from("ab,;|\t\"'\\#: .\u00a0é東😀NA0"),
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=LINE_BREAKS + "\ufeff"),
    ),
    min_size=1,
    max_size=12,
)
"""Values as people have them; those with line breaks have tests of their own."""
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**53), 2**53),
        st.one_of(st.none(), TEXT),
        st.one_of(st.none(), st.integers(-(10**9), 10**9).map(lambda number: number / 1000)),
        st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1)).map(
            lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
        ),
    ),
    min_size=1,
    max_size=8,
)
COLUMNS = ("id", "text", "number", "time")
Row = tuple[int, Any, Any, datetime.datetime]


def read(path: Path, **how: Any) -> list[tuple[Any, ...]]:
    """Returns the rows of a file, typed as the generators do; none may be malformed."""
    plain, rows = TableSettings(**how), []
    for file in find_files(str(path), "auto", "table"):
        for part in parts(file):
            for block in read_blocks(file, COLUMNS, plain, part):
                assert not block.malformed, block.malformed
                ids = as_text(block.columns["id"], "id").to_pylist()
                texts = as_text(block.columns["text"], "text").to_pylist()
                numbers, missing, bad = as_numbers(block.columns["number"], "number", plain)
                times, lost, wrong = as_times(
                    block.columns["time"], guess_time_unit(block.columns["time"], "time"), "time"
                )
                assert not bad.any()
                assert not (lost | wrong).any()
                some = [None if gone else float(number) for number, gone in zip(numbers, missing)]
                rows += zip(ids, texts, some, times.tolist())
    return rows


def expected(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [
        (
            str(number),
            None if text is None or text.isspace() else text,
            value,
            (time - EPOCH) // datetime.timedelta(microseconds=1),
        )
        for number, text, value, time in rows
    ]


def with_pandas(rows: list[Row], path: Path) -> dict[str, Any]:
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path.with_suffix(".csv"), index=False)
    return {}


def with_pandas_as_json(rows: list[Row], path: Path) -> dict[str, Any]:
    pd.DataFrame(rows, columns=list(COLUMNS)).to_json(
        path.with_suffix(".jsonl"), orient="records", lines=True, date_format="iso"
    )
    return {}


def with_duckdb(rows: list[Row], path: Path, options: str, suffix: str) -> None:
    table = pa.table(
        {
            "id": pa.array([row[0] for row in rows], pa.int64()),
            "text": pa.array([row[1] for row in rows], pa.string()),
            "number": pa.array([row[2] for row in rows], pa.float64()),
            "time": pa.array([row[3] for row in rows], pa.timestamp("us")),
        }
    )
    # By Parquet, for DuckDB reads tables of newer Arrows alone.
    pq.write_table(table, path.with_suffix(".in"))
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (from read_parquet('{path.with_suffix('.in')}')) to '{path.with_suffix(suffix)}' ({options})"
        )


def duckdb_csv(rows: list[Row], path: Path) -> dict[str, Any]:
    with_duckdb(rows, path, "format csv, header", ".csv")
    return {}


def duckdb_tsv(rows: list[Row], path: Path) -> dict[str, Any]:
    with_duckdb(rows, path, r"format csv, header, delimiter '\t', force_quote *", ".tsv")
    return {"delimiter": "\t"}


def duckdb_escaped(rows: list[Row], path: Path) -> dict[str, Any]:
    with_duckdb(rows, path, r"format csv, header false, delimiter '|', escape '\'", ".txt")
    return {"delimiter": "|", "names": COLUMNS, "escape": "\\"}


def duckdb_parquet(rows: list[Row], path: Path) -> dict[str, Any]:
    with_duckdb(rows, path, "format parquet", ".parquet")
    return {}


def duckdb_json(rows: list[Row], path: Path) -> dict[str, Any]:
    with_duckdb(rows, path, "format json", ".jsonl")
    return {}


def excel(rows: list[Row], path: Path) -> dict[str, Any]:
    """A workbook, and its CSV as spreadsheets in most of Europe save it."""
    book = openpyxl.Workbook()
    book.active.append(list(COLUMNS))
    for number, text, value, time in rows:
        book.active.append([str(number), text, value, time])
        for cell in book.active[book.active.max_row]:
            if isinstance(cell.value, str):
                cell.data_type = "s"  # a text that begins with = is no formula
    saved = io.BytesIO()
    book.save(saved)
    sheet = openpyxl.load_workbook(saved).active
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    for cells in sheet.iter_rows(values_only=True):
        writer.writerow([repr(cell).replace(".", ",") if isinstance(cell, float) else cell for cell in cells])
    path.with_suffix(".csv").write_bytes(text.getvalue().encode("utf-8-sig"))
    return {"delimiter": ";", "decimal": ","}


WRITERS: dict[str, Callable[[list[Row], Path], dict[str, Any]]] = {
    "pandas, CSV": with_pandas,
    "pandas, JSON lines": with_pandas_as_json,
    "DuckDB, CSV": duckdb_csv,
    "DuckDB, tabs and all quoted": duckdb_tsv,
    "DuckDB, escapes and no header": duckdb_escaped,
    "DuckDB, Parquet": duckdb_parquet,
    "DuckDB, JSON lines": duckdb_json,
    "a spreadsheet's CSV": excel,
}


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_what_others_write_is_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, writer: str, rows: list[Row]
) -> None:
    folder = tmp_path_factory.mktemp("written")
    how = WRITERS[writer](rows, folder / "table")
    for aside in folder.glob("*.in"):
        aside.unlink()
    assert read(folder, **how) == expected(rows)


SPARK_ROWS = [
    *(
        "plain",
        "a,b",
        'say "hi"',
        '"',
        "ends in \\",
        "back\\slash",
        '\\"both\\"',
        "two\nlines",
        "blanks",
        None,
        "é 東京 😀",
    ),
    *("tab\there", "semi;colon", "#hash", "'single'", '""', 'x"', None),
]
SPARK = [
    "plain",
    '"a,b"',
    '"say \\"hi\\""',
    '"\\""',
    "ends in \\",
    "back\\slash",
    '"\\\\\\"both\\\\\\""',
    '"two\nlines"',
    "blanks",
    '""',
    "é 東京 😀",
    "tab\there",
    "semi;colon",
    "#hash",
    "'single'",
    '"\\"\\""',
    '"x\\""',
    "",
]
"""What Spark 4.2.1 wrote for these values between two numbers, by default. It would start for half a minute here."""


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_spark_writes_is_the_same_table(tmp_path: Path, header: bool, pack: Callable[[bytes], bytes]) -> None:
    """Save a value that ends in a backslash without quotes around it: that can't be told from an escaped delimiter, and
    its row is refused by name."""
    lines = [f"{number},{text},{number * 1.5}\n" for number, text in enumerate(SPARK)]
    content = ("id,text,number\n" if header else "") + "".join(lines)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / f"part-00000.csv{'.gz' if pack is gzip.compress else ''}").write_bytes(pack(content.encode()))
    how = TableSettings(escape="\\", names=None if header else ("id", "text", "number"))
    [file] = find_files(str(tmp_path), "auto", "table")
    [block] = read_blocks(file, ("id", "text", "number"), how)
    texts = as_text(block.columns["text"], "text").to_pylist()
    assert dict(zip(block.columns["id"].to_pylist(), texts)) == {
        str(number): text for number, text in enumerate(SPARK_ROWS) if text != "ends in \\"
    }
    assert [(bad.reason, bad.text) for bad in block.malformed] == [("2 columns instead of 3", "4,ends in \\,6.0")]


BOMBS = """
import gzip, itertools, sys
from pathlib import Path

from components.errors import InputError
from components.tables.formats import TableSettings
from components.tables.reading import column_names, find_files, read_blocks

MIB = 1 << 20
bombs = {
    "line.csv.gz": (b"a,b\\n1,", b"x" * MIB),
    "quote.csv.gz": (b'a,b\\n1,"', b"x\\n" * (MIB // 2)),
    "line.jsonl.gz": (b'{"a": "', b"x" * MIB),
    "deep.jsonl.gz": (b'{"a": ', b"[" * MIB),
}
for name, (head, more) in bombs.items():
    path = Path(sys.argv[1], name)
    with gzip.open(path, "wb", 1) as packed:
        packed.writelines(itertools.chain([head], itertools.repeat(more, 100)))
    [file] = find_files(str(path), "auto", "bomb")
    try:
        for block in read_blocks(file, ["a"], TableSettings()):
            pass
        sys.exit(f"{name} was read")
    except InputError as error:
        print(error)
    path.unlink()
# Not getrusage's, which begins with what the process had that started this one.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(int(peak.split()[1]) / MIB)  # of KiB
"""


@pytest.mark.slow
def test_a_few_bytes_that_unpack_into_many_do_not_fill_the_memory(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", BOMBS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    *said, gibibytes = ended.stdout.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == [
        "row 2 has no end",
        "a quote is opened and not closed, in row 2 or above it",
        "row 1 has no end",
        "row 1 has no end",
    ]
    assert float(gibibytes) < 2
