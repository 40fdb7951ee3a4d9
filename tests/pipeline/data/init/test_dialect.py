"""Formats, encodings and dialects of files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.data.init.dialect import look_at

ROWS = [("anna", "1a", "3"), ("bert", "2b", "4"), ("cleo", "3c", "5")] * 5


def lines(delimiter: str, head: str = "who what stars") -> str:
    return "\n".join(delimiter.join(row) for row in ([tuple(head.split())] if head else []) + ROWS) + "\n"


@pytest.mark.parametrize(
    ("content", "settings", "columns"),
    [
        (lines(","), {}, ["who", "what", "stars"]),
        (lines(";"), {"delimiter": ";"}, ["who", "what", "stars"]),
        (lines("\t"), {"delimiter": "\t"}, ["who", "what", "stars"]),
        (lines("::"), {"delimiter": "::"}, ["who", "what", "stars"]),
        (lines("||"), {"delimiter": "||"}, ["who", "what", "stars"]),
        (lines("\x01"), {"delimiter": "\x01"}, ["who", "what", "stars"]),
        (lines(", "), {}, ["who", " what", " stars"]),
        ("a\t\tc\n" + "1\t\t2\n" * 9, {"delimiter": "\t"}, ["a", "", "c"]),
        (lines(",", ""), {"names": ["column_1", "column_2", "column_3"]}, None),
        (lines(",").replace("\n", "\r\n"), {}, ["who", "what", "stars"]),
        ("a,b\n" + "'x, y','z'\n" * 9, {"quote": "'"}, ["a", "b"]),
        ("a,b\n" + '"x ""y""",z\n' * 9, {}, ["a", "b"]),
        ("a,b\n" + '"x \\"y\\"",z\n' * 9, {"escape": "\\"}, ["a", "b"]),
        ("a\tb\n" + '"x\tz\n1\t2\n' * 9, {"delimiter": "\t", "quote": None}, ["a", "b"]),
        ("id:token\tn:float\n1\t2\n", {"delimiter": "\t"}, ["id:token", "n:float"]),
        ("one\ntwo\nthree\n", {}, ["one"]),
    ],
)
def test_dialects(tmp_path: Path, content: str, settings: dict[str, Any], columns: list[str] | None) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode())
    look = look_at(str(path), "things")
    assert look.settings == settings
    assert look.columns == (columns or settings["names"])
    assert look.reasons.keys() == settings.keys()


@pytest.mark.parametrize(
    ("text", "stored", "said"),
    [
        ("Müller, Zoë, für Käse", "utf-8", None),
        ("Müller, Zoë, für Käse", "utf-8-sig", None),
        ("Müller, Zoë, für Käse", "latin-1", "cp1252"),
        ("Müller, Zoë: 3 €", "cp1252", "cp1252"),
        ("Преступление и наказание", "cp1251", "cp1251"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたか", "shift_jis", "shift_jis"),
        ("Müller", "utf-16", "utf-16"),
        ("Mueller", "utf-16-le", "utf-16-le"),
        ("Mueller", "utf-16-be", "utf-16-be"),
    ],
)
def test_encodings(tmp_path: Path, text: str, stored: str, said: str | None) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(("id;title\n" + "".join(f"{n};{text} {n}\n" for n in range(20))).encode(stored))
    look = look_at(str(path), "things")
    assert look.settings.get("encoding") == said
    assert look.columns == ["id", "title"]


def test_formats_by_what_a_file_holds(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(gzip.compress(b'{"a": {"b": 1}, "c": [{"d": 2}]}\n'))
    look = look_at(str(tmp_path / "log"), "things")
    assert look.settings == {"format": "jsonl"}
    assert look.columns == ["a.b", "c.d"], "what lies deeper is a column, what holds it is none"
    (tmp_path / "log.csv").write_bytes(b"{'a': 1}\n")
    assert look_at(str(tmp_path / "log.csv"), "things").settings == {"format": "jsonl"}
    (tmp_path / "log.data").write_bytes(b"{1},2\n{3},4\n")
    assert look_at(str(tmp_path / "log.data"), "things").settings["format"] == "csv"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.json", b'[{"a": 1}, {"a": 2}]', "is one JSON array: write its objects one a line"),
        ("log.xlsx", b"PK\x03\x04and more", "is a ZIP archive or a spreadsheet"),
        ("log.csv", b"\n \n", "has no rows"),
        ("log.csv", b"sep=;\na;b\n", "begins with 'sep=;': take what stands above the header out of the file"),
        ("log.parquet", b"PAR1 and no more", "can't be read as parquet"),
    ],
)
def test_files_of_which_nothing_can_be_made(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        look_at(str(tmp_path / name), "things")
