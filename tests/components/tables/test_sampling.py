"""Samples of tables: all of small files, places spread over large ones, rows under their numbers."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.tables import reading, sampling
from components.tables.formats import TableSettings
from components.tables.row_report import Report
from components.tables.rows import report_malformed

PLAIN = TableSettings()
COUNT = 4000


def sample(pattern, size, how=PLAIN, columns=("a",)):
    """Returns the values read of column a by their row numbers, the sample, and the rejected rows by theirs."""
    rows = {}

    def cleaned(piece, first):
        report = Report(rows=len(piece.block.rows))
        report_malformed(report, piece.block, piece.file)
        shift = reading.lines_before(piece.file, piece.start) - 1 - piece.shift if piece.start else 0
        rows.update(zip((piece.block.rows + shift).tolist(), piece.block.columns["a"].to_pylist()))
        return pa.table(piece.block.columns), report

    files = reading.find_files(str(pattern), "auto", "things")
    found = sampling.read_table(files, columns, how, size, cleaned)
    return rows, found, {bad.row: bad.line for report in found.reports for bad in report.samples}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sampling, "_MIN_SIZE", 1)


def lines(kind):
    header = "a,b\n" if kind == "csv" else ""
    row = "{0},x" if kind == "csv" else '{{"a": {0}, "b": "x"}}'
    return header + "".join(row.format(number) + "\n" for number in range(COUNT))


@pytest.mark.parametrize(("kind", "first"), [("csv", 2), ("jsonl", 1)])
def test_a_large_file_is_sampled_at_its_beginning_and_at_places_spread_over_it(tmp_path, small, kind, first):
    path = tmp_path / f"log.{kind}"
    path.write_text(lines(kind))
    rows, found, _ = sample(path, path.stat().st_size // 4)
    assert all(value == str(row - first) for row, value in rows.items()), "each value stands under its row's number"
    assert (found.share.whole, found.share.rows) == (False, len(rows))
    assert 0.15 * COUNT < len(rows) < 0.3 * COUNT
    assert found.share.of_all == pytest.approx(COUNT, rel=0.15)
    assert min(rows) == first
    assert max(rows) == COUNT + first - 1
    gaps = np.diff(sorted(rows))
    assert (gaps > 1).sum() == sampling._PLACES - 1


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_what_is_wrong_at_a_place_far_down_has_its_row_number(tmp_path, small, kind):
    path = tmp_path / f"log.{kind}"
    content = lines(kind).splitlines()
    content[3000:] = ["x,y,z"] * (len(content) - 3000)
    path.write_text("\n".join(content) + "\n")
    _, found, bad = sample(path, 4000)
    assert not found.share.whole
    assert bad
    assert min(bad) >= 3001
    assert max(bad) == len(content)


def test_lines_that_are_longer_than_what_is_read_of_a_place(tmp_path, small):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n" + "".join(f"{number},{'é' * 300}\n" for number in range(400)))
    rows, found, bad = sample(path, 32 * 50, columns=("a", "b"))
    assert not bad
    assert all(value == str(row - 2) for row, value in rows.items())
    assert not found.share.whole
    assert all("\ufdd0" not in text for table in found.tables for text in table["b"].to_pylist())


def test_all_of_a_file_that_is_small_enough(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(lines("csv"))
    rows, found, _ = sample(path, 1 << 20)
    assert list(rows) == list(range(2, COUNT + 2))
    assert (found.share.whole, found.share.rows, found.share.of_all) == (True, COUNT, COUNT)
    assert found.head["a"].to_pylist() == [str(number) for number in range(1000)]


def test_values_with_line_breaks_are_read_from_the_beginning_alone(tmp_path, small):
    """For nobody knows whether a line in the middle is a row."""
    path = tmp_path / "log.csv"
    path.write_text("a,b\n" + "".join(f'{number},"one\nand, two"\n' for number in range(COUNT)))
    rows, found, bad = sample(path, path.stat().st_size // 4)
    assert list(rows.values()) == [str(number) for number in range(len(rows))]
    assert not found.share.whole
    assert not bad


def test_of_what_is_compressed_the_beginning(tmp_path, small):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(lines("csv").encode()))
    rows, found, _ = sample(path, 2000)
    assert list(rows)[:3] == [2, 3, 4]
    assert (found.share.whole, found.share.of_all) == (False, None)
    assert sample(path, 1 << 20)[1].share.whole


def test_other_encodings_that_have_no_lines_of_bytes(tmp_path, small):
    path = tmp_path / "log.csv"
    path.write_text(lines("csv"), encoding="utf-16")
    rows, found, _ = sample(path, 2000, TableSettings(encoding="utf-16"))
    assert not found.share.whole
    assert all(value == str(row - 2) for row, value in rows.items())


@pytest.mark.slow
@pytest.mark.smoke
def test_parts_of_parquet_spread_over_the_file(tmp_path, small):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"a": list(range(COUNT))}), path, row_group_size=50)
    rows, found, _ = sample(path, 320 * sampling._BYTES_PER_ROW)
    assert all(value == row - 1 for row, value in rows.items())
    assert (len(rows), found.share.rows, found.share.whole, found.share.of_all) == (320, 320, False, COUNT)
    assert max(rows) > COUNT - 50
    assert sample(path, COUNT * sampling._BYTES_PER_ROW)[1].share == sampling.Share(COUNT, True, COUNT)
    pq.write_table(pa.table({"a": list(range(COUNT))}), path, row_group_size=10)
    share = sample(path, COUNT * sampling._BYTES_PER_ROW)[1].share
    assert (share.whole, share.rows) == (False, 256 * 10), "so many parts at most"
    pq.write_table(pa.table({"a": list(range(COUNT))}), path, row_group_size=1000)
    assert sample(path, COUNT * sampling._BYTES_PER_ROW)[1].share == sampling.Share(COUNT, True, COUNT)


@pytest.mark.slow
@pytest.mark.smoke
def test_each_file_has_its_part_of_the_sample(tmp_path, small, monkeypatch):
    for number in range(6):
        (tmp_path / f"log-{number}.csv").write_text(lines("csv"))
    size = (tmp_path / "log-0.csv").stat().st_size
    _, found, _ = sample(tmp_path / "log-*.csv", size)
    assert found.share.of_all == pytest.approx(6 * COUNT, rel=0.2)
    monkeypatch.setattr(sampling, "_MAX_FILES", 2)
    _, found, _ = sample(tmp_path / "log-*.csv", 6 * size)
    assert (found.share.rows, found.share.whole, found.share.of_all) == (2 * COUNT, False, 6 * COUNT)


def test_a_broken_file_is_a_problem_beside_what_could_be_read(tmp_path):
    (tmp_path / "log-0.csv").write_text(lines("csv"))
    (tmp_path / "log-1.csv").write_text('a,b\n1,"x\n')
    _, found, _ = sample(tmp_path / "log-*.csv", 1 << 20)
    assert [report.problems for report in found.reports if report.problems] == [
        [
            f"{tmp_path}/log-1.csv: a quote is opened and not closed, in row 2 or above it: set quote: null if quotes "
            "are characters like others in this file"
        ]
    ]
    assert not found.share.whole
