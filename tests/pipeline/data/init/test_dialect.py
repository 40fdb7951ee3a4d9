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
        (lines(", "), {"trim": True}, ["who", "what", "stars"]),
        ("a\t\tc\n" + "1\t\t2\n" * 9, {"delimiter": "\t"}, ["a", "", "c"]),
        (lines(",", ""), {"names": ["column_1", "column_2", "column_3"]}, None),
        (lines(",").replace("\n", "\r\n"), {}, ["who", "what", "stars"]),
        ("a,b\n" + "'x, y','z'\n" * 9, {"quote": "'"}, ["a", "b"]),
        ("a,b\n" + '"x ""y""",z\n' * 9, {}, ["a", "b"]),
        ("a,b\n" + '"x \\"y\\"",z\n' * 9, {"escape": "\\"}, ["a", "b"]),
        ("a\tb\n" + '"x\tz\n1\t2\n' * 9, {"delimiter": "\t", "quote": None}, ["a", "b"]),
        ("id:token\tn:float\n1\t2\n", {"delimiter": "\t"}, ["id:token", "n:float"]),
        ("one\ntwo\nthree\n", {}, ["one"]),
        (lines("#"), {"delimiter": "#"}, ["who", "what", "stars"]),
        (lines("\x1e"), {"delimiter": "\x1e"}, ["who", "what", "stars"]),
        ("user,items\n" + "".join(f"{n},{n}|{n + 1}|3|4|5|6|7|8|9\n" for n in range(60)), {}, ["user", "items"]),
        ("user,id,id\n" + "1,2,3\n" * 9, {}, ["user", "id", "id"]),
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
        ("Pâté à l'échalote, Œuvre complète — 1", "cp1252", "cp1252"),
        ("Um coração de São Paulo, opções", "latin-1", "cp1252"),
        ("Pippi Långstrump på ön, räkan", "cp1252", "cp1252"),
        ("Rødgrød, blå bær", "cp1252", "cp1252"),
        ("La città, perché è così", "cp1252", "cp1252"),
        ("Geïnteresseerd in financiële vragen", "latin-1", "cp1252"),
        ("ÉTÉ À LA MER", "cp1252", "cp1252"),
        ("Zażółć gęślą jaźń", "cp1250", "cp1250"),
        ("Příliš žluťoučký kůň", "cp1250", "cp1250"),
        ("Őszi szél, könyv a nőről", "cp1250", "cp1250"),
        ("Zażółć gęślą jaźń", "iso8859_2", "iso8859-2"),
        ("İstanbul'da güneş ışığı, çocuk ve ağaç", "cp1254", "cp1254"),
        ("Müller, für süße Käse", "cp850", "cp850"),
        ("Müller, für süße Käse", "mac_roman", "mac-roman"),
        ("Тихий Дон и мёртвые души", "cp866", "cp866"),
        ("ספר הילדים: מלחמה ושלום", "cp1255", "cp1255"),
        ("كتاب الحياة: ألف ليلة وليلة", "cp1256", "cp1256"),
        ("สวัสดีชาวโลก หนังสือเล่มนี้ ความรักของเรา", "cp874", "cp874"),
        ("吾輩は猫である。名前はまだ無い。", "euc_jp", "euc_jp"),
        ("Müller", "utf-16", "utf-16"),
        ("Müller", "utf-32", "utf-32"),
        ("Mueller", "utf-16-le", "utf-16-le"),
        ("Mueller", "utf-16-be", "utf-16-be"),
    ],
)
def test_encodings(tmp_path: Path, text: str, stored: str, said: str | None) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(("id;title\n" + "".join(f"{n};{text.split(', ')[n % 2 - 1]}\n" for n in range(20))).encode(stored))
    look = look_at(str(path), "things")
    assert look.settings.get("encoding") == said
    assert look.columns == ["id", "title"]


def test_an_encoding_that_is_not_sure_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for stored, warned in (("cp1252", False), ("cp850", True)):
        path.write_bytes(("Kunde;Größe\n" + "1;süß\n" * 9).encode(stored))
        assert [each[:26] for each in look_at(str(path), "things").warnings] == ["encoding cp850 is a guess:"] * warned


def test_a_few_rows_of_another_encoding_leave_a_file_in_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = [b"id;title\n", *(f"{n};Zoë {n}\n".encode() for n in range(300))]
    path.write_bytes(b"".join([*rows, "7;Noël\n".encode("cp1252")]))
    look = look_at(str(path), "things")
    assert "encoding" not in look.settings
    assert look.warnings == [
        "1 of 302 rows looked at are not UTF-8 as the others are, such as '7;Noël': they are rejected"
    ]


def test_tabs_are_the_delimiter_where_the_words_between_them_are_as_many(tmp_path: Path) -> None:
    path = tmp_path / "behaviors.tsv"
    path.write_text("".join(f"{n}\tU{n % 3}\tN{n} N{n + 1} N1\tN1-0 N2-1 N3-0 N4-0\n" for n in range(60)))
    assert look_at(str(path), "things").settings["delimiter"] == "\t"


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
        ("log.txt", b"1:\n7,5\n8,4\n2:\n7,1\n", "lines such as '1:' stand above the rows that they are of: write that"),
        (
            "log.txt",
            "".join(f"{n} {'5 ' * (n % 7)}6\n" for n in range(20)).encode(),
            "its rows have 2 to 8 columns with ' ' between them: if each holds a list, put something else before it",
        ),
        ("log.csv", b"Sales of 2020\nuser,item\nu,i\nv,j\n", "begins with 'Sales of 2020': take what stands above"),
        ("log.csv", b"# made by hand\na,b\n1,2\n", "begins with '# made by hand': take what stands above"),
        (
            "log.csv",
            b"Report of events,,\nuser_id,item_id,timestamp\nu,i,7\n",
            "begins with 'Report of events,,': take",
        ),
        ("log.csv", b"Events,\nuser_id,item_id,timestamp\nu,i,7\n", "begins with 'Events,': take what stands above"),
        ("log.jsonl", b"[1, 2, 3]\n[1, 2, 4]\n", r"its lines are JSON arrays, such as '\[1, 2, 3\]': write objects"),
        ("log.csv", b"user=1 item=2 ts=3\n" * 9, "its rows hold keys with values, such as 'user=1 item=2 ts=3'"),
        ("log.txt", b"{user: 1, item: 2}\n" * 9, "of which the delimiter tears apart what brackets hold together"),
        ("log.txt", b"Row(user=1, item=2, at=3)\n" * 9, "its rows hold keys with values, such as 'Row"),
        ("log.txt", b"(1030, 127, 1600023854)\n" * 9, "of which the delimiter tears apart what brackets hold together"),
        (
            "log.txt",
            b'10.0.0.1 - - [13/Sep/2020:20:33:39 +0000] "GET /item/7 HTTP/1.1" 200 123\n' * 9,
            "is a web server's log",
        ),
        ("log.txt", b"%%MatrixMarket matrix coordinate integer general\n" + b"7 8 1\n" * 9, "begins with '%%Matrix"),
        (
            "log.json",
            b'{"user": {"0": "u", "1": "v"}, "item": {"0": "i", "1": "j"}}',
            r"is one object of columns .* to_json\(orient='records', lines=True\)",
        ),
        ("log.csv", b"1::2::3\x1f\n" * 9, r"log\.csv: the character '.x1f' can't be in a file whose delimiter is '::'"),
        ("log.csv", b"7 134:1 135:1\n" * 9, "its rows hold keys with values, such as '7 134:1 135:1'"),
        ("log.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "is not JSON lines"),
        ("log.jsonl", b'{"a": 1}{"a": 2}', "is not JSON lines: no line at its beginning is a JSON object"),
        ("log.csv", b"sep=;\na;b\n", "begins with 'sep=;': take what stands above the header out of the file"),
        ("log.parquet", b"PAR1 and no more", "can't be read as parquet"),
    ],
)
def test_files_of_which_nothing_can_be_made(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        look_at(str(tmp_path / name), "things")
