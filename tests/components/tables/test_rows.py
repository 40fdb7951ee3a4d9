"""Judging rows."""

import numpy as np
import pyarrow as pa
import pytest

from components.errors import InputError
from components.tables.features import Feature
from components.tables.formats import TableSettings
from components.tables.reading import NOT_UTF8, BadRow, Block, TableFile
from components.tables.row_report import Report
from components.tables.rows import (
    Verdicts,
    check_text,
    drop_first_header,
    drop_headers,
    place,
    read_features,
    read_ids,
    report_malformed,
    row_of,
)

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


def test_what_may_mend_a_number_is_said():
    for values, hint in (
        (["1", "-"], " (see missing)"),
        (["1", "$5"], " as it is written (see units, thousands and decimal)"),
        (["1", "dear"], ""),
    ):
        verdicts, report = Verdicts(2), Report()
        columns = block(price=values)
        read_features(columns, {"price": Feature(type="number")}, TableSettings(), verdicts)
        verdicts.report(report, columns, FILE)
        assert list(report.rejected) == [("log.csv", f"price is not a number{hint}")]


def test_a_number_that_is_too_large_is_said_to_be():
    verdicts, report = Verdicts(3), Report()
    columns = block(price=["1", "1e308", "-3.5e38"])
    found = read_features(columns, {"price": Feature(type="number")}, TableSettings(), verdicts)
    assert found["price"].to_pylist() == [1, None, None]
    verdicts.report(report, columns, FILE)
    assert report.rejected == {("log.csv", "price is larger than 3.4e+38"): 2}


def test_objects_are_no_categories():
    verdicts, report = Verdicts(4), Report()
    columns = block(brand=["{'id': 1}", '[{"id": 1}]', "{x}", None], tags=["a", "b", "{'id': 1}", "[{'id': 1}]"])
    features = {"brand": Feature(type="category"), "tags": Feature(type="categories")}
    read_features(columns, features, TableSettings(), verdicts)
    verdicts.report(report, columns, FILE)
    assert report.rejected == {
        ("log.csv", "brand is an object: name a key, as brand.key"): 2,
        (
            "log.csv",
            "tags is a list of lists or of objects: of objects name a key, as tags.key; or dots stand for a part",
        ): 2,
    }


def test_ids_are_there_and_on_one_line():
    verdicts, report = Verdicts(4), Report()
    columns = block(id=["a", "", "b\nc", "d\r"])
    assert read_ids(columns, "id", verdicts).to_pylist() == ["a", None, "b\nc", "d\r"]
    verdicts.report(report, columns, FILE)
    assert report.rejected == {("log.csv", "id is missing"): 1, ("log.csv", "id has a line break"): 2 + 1}


def test_headers_within_the_rows_are_dropped():
    verdicts, report = Verdicts(4), Report()
    columns = block(
        id=["id", "a", "---", "id"], title=["title", "title", ":---", "A"], price=["price", "1", "---:", "2"]
    )
    drop_headers(columns, verdicts)
    verdicts.report(report, columns, FILE)
    assert verdicts.kept().tolist() == [False, True, False, True]
    assert report.dropped == {"that are the header again": 1, "that are a line below a header": 1}
    verdicts = Verdicts(2)
    drop_headers(block(id=["a", "id"]), verdicts)
    assert verdicts.kept().tolist() == [True, False]
    drop_headers(block(id=["id"], price=[1]), verdicts := Verdicts(1))
    assert verdicts.kept().all(), "may be a name"


def test_a_header_within_the_rows_in_another_order_is_refused():
    columns = block(user=["u", "item", "i"], item=["i", "user", "u"], at=["1", "at", "2"])
    with pytest.raises(InputError, match=r"^row 3 is a header with its columns in another order: cut the file in two"):
        drop_headers(columns, Verdicts(3))
    drop_headers(block(user=["item", "u"], item=["item", "user"], at=["at", "at"]), verdicts := Verdicts(2))
    assert verdicts.kept().all()


ITEMS = ["milk", "rye", "tea", "ale", "jam"]


@pytest.mark.parametrize(
    ("ids", "titles", "is_header"),
    [
        (["id", *ITEMS], ["words", *ITEMS], True),
        (["sku", *ITEMS], ["Title ", *ITEMS], True),
        (["sku", "1", "2", "3", "4", "5"], ["words", *ITEMS], True),
        (["sku", *ITEMS], ["words", *ITEMS], False),
        (["sku", "1", "2"], ["words", "milk", "rye"], False),
        (["milk", "id"], ["rye", "title"], False),
    ],
)
def test_a_first_row_that_is_a_header_is_dropped_where_names_say_that_there_is_none(ids, titles, is_header):
    columns = block(id=ids, title=titles)
    columns.rows = np.arange(1, len(ids) + 1)
    for names, dropped in ((("id", "title"), is_header), (None, False)):
        verdicts = Verdicts(len(ids))
        drop_first_header(columns, (columns.columns["id"],), TableSettings(names=names), verdicts)
        assert verdicts.kept().tolist() == [not dropped, *[True] * (len(ids) - 1)]


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
