"""Dialects of CSV: what Arrow is given, and what it took without a word."""

import pytest

from components.errors import InputError
from components.tables import dialects
from components.tables.formats import TableSettings


def test_delimiters_of_several_bytes_have_a_stand_in():
    how = TableSettings(delimiter="::")
    assert dialects.mark_of(how) == "\x1f"
    assert dialects.prepared(b"1::2\n3::4\n", how) == b"1\x1f2\n3\x1f4\n"
    assert dialects.first_row("1\x1f2\n", how) == ["1", "2"]
    with pytest.raises(InputError, match=r"'\\x1f' can't be in a file whose delimiter is '::'"):
        dialects.prepared(b"1\x1f::2\n", how)
    assert dialects.prepared(b"1\x1f2\n", TableSettings(delimiter="\x1f")) == b"1\x1f2\n"


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (rb'"a \"b\""', rb'"a \"b\""'),  # meant for a quote
        (rb"C:\new", rb"C:\\new"),  # meant for nothing: both stay
        (rb"a\\b", rb"a\\b"),
        (rb"a\;b", rb"a\;b"),
        (b"\\N;x;\\N\n\\N;\\N;\\Nx\n", b";x;\n;;\\\\Nx\n"),  # a lone \N is a missing value
        (b"a\\\nb", b"a\\\nb"),
        (b"a\\\r\nb\r\n", b"a\\\r\\\nb\r\n"),  # both bytes of a line's end are in the value
    ],
)
def test_escapes(piece, expected):
    assert dialects.prepared(piece, TableSettings(delimiter=";", escape="\\")) == expected
    assert dialects.prepared(piece, TableSettings(delimiter=";")) == piece


@pytest.mark.parametrize(
    ("text", "rows", "how", "tails", "swallowed"),
    [
        ('a,b\n1,"x ""y"" z"\n', 2, {}, [], None),
        ('a,b\n1,5" floppy\n', 2, {}, [], None),  # a quote inside of a value that has none around it
        ('a,b\n1,"Heroes" (2017)\n2,x\n3,"x"y\n', 4, {}, [1, 3], None),
        ('a,b\n1,"x \\"y\\" z"\n', 2, {}, [1], None),
        ('a,b\n"1" ,"x" \n', 2, {}, [], None),  # blanks are no text
        ('a,b\n1,"x \\"y\\" z"\n', 2, {"escape": "\\"}, [], None),
        ('a,b\n1,"two\nlines, in prose"\n2,z\n', 3, {}, [], None),
        ('a\tb\n1\t"Heroes\n2\tx\n3\t"Heroes\n4\ty\n', 3, {"delimiter": "\t"}, [], 1),
        ('a\tb\n1\t"Heroes\n2\t6"\n4\ty\n', 3, {"delimiter": "\t"}, [], 1),  # ends as a quoted value does
        ("a\tb\n1\t'Heroes\n2\t6'\n4\ty\n", 3, {"delimiter": "\t", "quote": "'"}, [], 1),
        ('a,b\n1,"x\n' + "2,y\n" * 9 + '3,6"\n', 2, {}, [], 1),  # more lines with a comma each than prose has
        ('a\tb\n1\t"Heroes\n', 2, {"delimiter": "\t", "quote": None}, [], None),
    ],
)
def test_faults(text, rows, how, tails, swallowed):
    found = dialects.faults(text.encode(), rows, 2, TableSettings(**how))
    assert found.tails == tails
    assert (found.swallowed and found.swallowed[0]) == swallowed
    if swallowed is not None:
        assert "lines that look like rows of their own: set quote: null" in found.swallowed[1]
