"""From views of courses and tags to a catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.data.adapters.courses import convert
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
