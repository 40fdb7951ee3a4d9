"""From views of courses and tags to a catalogue."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.data.adapters.courses import convert, main
from pipeline.data.adapters.courses import courses as catalogue


def test_the_adapter_makes_a_row_of_each_course() -> None:
    views = [
        {"course_id": "react-js-intro", "author_handle": "ann", "level": "Beginner"},
        {"course_id": "react-js-intro", "author_handle": "bob", "level": "Advanced"},
        {"course_id": "sql", "author_handle": "eve", "level": "Advanced"},
    ]
    tags = [
        {"course_id": "react-js-intro", "course_tags": "react"},
        {"course_id": "unseen", "course_tags": ""},
        {"course_id": "react-js-intro", "course_tags": "web|react"},
    ]
    assert list(catalogue(views, tags)) == [
        ("react-js-intro", "react js intro", "ann", "Beginner", "react|web"),
        ("sql", "sql", "eve", "Advanced", ""),
        ("unseen", "unseen", "", "", ""),
    ]


@pytest.mark.parametrize("missing", ["views", "tags"])
def test_the_adapter_names_what_is_wrong(tmp_path: Path, missing: str) -> None:
    (tmp_path / "views.csv").write_text("course_id,author_handle,level\na,b,c\n", encoding="utf-8")
    (tmp_path / "tags.csv").write_text("course_id,tag\na,b\n", encoding="utf-8")
    (tmp_path / "views.csv").unlink() if missing == "views" else None
    with pytest.raises(InputError, match=r"views\.csv" if missing == "views" else "course_tags"):
        convert(tmp_path / "views.csv", tmp_path / "tags.csv", tmp_path / "out.csv")
    assert not list(tmp_path.glob("*out*"))


def test_the_catalogue_is_a_file_with_a_header(tmp_path: Path) -> None:
    views, tags, out = tmp_path / "views.csv", tmp_path / "tags.csv", tmp_path / "new folder" / "courses.csv"
    views.write_bytes("\ufeffcourse_id,author_handle,level\r\na-b,ann,\r\n,nobody,\r\nshort\r\n".encode())
    tags.write_text('course_id,course_tags\na-b,"x,y|z|"\na-b\n', encoding="utf-8")
    assert convert(views, tags, out) == 2
    assert out.read_text(encoding="utf-8") == (
        'course_id,title,author_handle,level,tags\na-b,a b,ann,,"x,y|z"\nshort,short,,,\n'
    )
    assert list(out.parent.iterdir()) == [out]


def test_as_a_program_it_says_what_it_did_or_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "views.csv").write_text("course_id,author_handle,level\na,b,c\n", encoding="utf-8")
    (tmp_path / "tags.csv").write_text("course_id,course_tags\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["courses", "views.csv", "tags.csv", "out.csv"])
    main()
    assert capsys.readouterr().out == "1 courses in out.csv\n"
    monkeypatch.setattr(sys, "argv", ["courses", "views.csv", "gone.csv", "out.csv"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: views.csv, gone.csv to out.csv: ")
