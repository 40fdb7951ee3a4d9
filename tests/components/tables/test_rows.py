"""Judging rows."""

import numpy as np
import pyarrow as pa

from components.tables.features import Feature
from components.tables.formats import TableSettings
from components.tables.reading import NOT_UTF8, BadRow, Block, TableFile
from components.tables.row_report import Report
from components.tables.rows import Verdicts, check_text, place, read_features, read_ids, report_malformed, row_of

FILE = TableFile("log.csv", "csv", 1, 2)


def block(**columns):
    arrays = {name: pa.array(values) for name, values in columns.items()}
    size = len(next(iter(arrays.values())))
    return Block(np.arange(2, size + 2), arrays)


def test_the_first_reason_against_a_row_counts():
    verdicts, report = Verdicts(4), Report()
    verdicts.reject(np.array([True, False, False, False]), "x is missing")
    verdicts.drop(np.array([True, True, False, False]), "below min")
    verdicts.reject(np.array([False, True, True, False]), "y is missing")
    verdicts.reject(np.zeros(4, bool), "never")
    assert verdicts.kept().tolist() == [False, False, False, True]
    verdicts.report(report, block(a=["p", "q", "r", "s"], b=[1, 2, None, 4]), FILE)
    assert report.dropped == {"below min": 1}
    assert report.rejected == {("log.csv", "x is missing"): 1, ("log.csv", "y is missing"): 1}
    assert [(sample.row, sample.line) for sample in report.samples] == [(2, "p,1"), (4, "r,")]


def test_features_by_type():
    verdicts = Verdicts(3)
    columns = block(price=["1.5", "", "dear"], Tags=["a|b", "", None], channel=["web", "", "app"])
    features = {
        "price": Feature(type="number"),
        "tags": Feature(type="categories", column="Tags"),
        "channel": Feature(type="category"),
    }
    found = {
        name: array.to_pylist() for name, array in read_features(columns, features, TableSettings(), verdicts).items()
    }
    assert found == {"price": [1.5, None, None], "tags": [["a", "b"], [], []], "channel": ["web", None, "app"]}
    assert verdicts.kept().tolist() == [True, True, False], "missing is no fault, no number is"


def test_objects_are_no_categories():
    verdicts, report = Verdicts(4), Report()
    columns = block(brand=["{'id': 1}", '[{"id": 1}]', "{x}", None], tags=["a", "b", "{'id': 1}", "[{'id': 1}]"])
    features = {"brand": Feature(type="category"), "tags": Feature(type="categories")}
    read_features(columns, features, TableSettings(), verdicts)
    verdicts.report(report, columns, FILE)
    assert report.rejected == {
        ("log.csv", "brand is an object: name a key, as brand.key"): 2,
        ("log.csv", "tags is a list of lists or of objects: of objects name a key, as tags.key"): 2,
    }


def test_ids_are_there_and_on_one_line():
    verdicts, report = Verdicts(4), Report()
    columns = block(id=["a", "", "b\nc", "d\r"])
    assert read_ids(columns, "id", verdicts).to_pylist() == ["a", None, "b\nc", "d\r"]
    verdicts.report(report, columns, FILE)
    assert report.rejected == {("log.csv", "id is missing"): 1, ("log.csv", "id has a line break"): 2 + 1}


def test_rows_with_bytes_that_are_no_text():
    verdicts = Verdicts(3)
    check_text(block(a=["x", f"y{NOT_UTF8}", "z"], b=[["p"], ["q"], [NOT_UTF8]]), verdicts)
    assert verdicts.kept().tolist() == [True, False, False]


def test_malformed_rows_are_counted_with_their_lines():
    report = Report(rows=1)
    rows = Block(np.empty(0, np.int64), {}, [BadRow(7, "2 columns instead of 3", "a\nb", 2)])
    report_malformed(report, rows, FILE)
    assert (report.rows, report.rejected) == (2, {("log.csv", "2 columns instead of 3"): 2})


def test_places_go_by_file_and_then_by_row():
    earlier = TableFile("a.csv", "csv", 1, 1)
    places = [*place(earlier, block(a=["x", "y"])), *place(FILE, block(a=["z"]))]
    assert places == sorted(places)
    assert [row_of(int(order)) for order in places] == [2, 3, 2]
