"""Who is asked for: the users of any kind of file, and what is said of a wrong line."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.errors import InputError
from pipeline.batch.queries import ALL, read_queries, serialized_context, write_items, write_queries

FEATURES = {"device": bytes, "tags": bytes, "age": float, "timestamp": int}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A SavedModel as far as it is looked at here: it knows nasty users."""
    (tmp_path / "model" / "assets").mkdir(parents=True)
    (tmp_path / "model" / "assets" / "users.txt").write_text("a,b\n leading\nline\u2028separator\n🎬", encoding="utf-8")
    return tmp_path / "model"


def rows(users: str | Path, model: Path, context: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    path = model.parent / "queries"
    count = write_queries(str(users), model, FEATURES, context or {}, path)
    found = read_queries(path).to_pylist()
    assert len(found) == count
    return found


def features_of(context: bytes) -> dict[str, list[Any]]:
    example = tf.train.Example.FromString(context)
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in example.features.feature.items()
    }


def test_everybody_whom_the_model_knows(model: Path) -> None:
    found = rows(ALL, model)
    assert [row["user_id"] for row in found] == ["a,b", " leading", "line\u2028separator", "🎬"]
    assert all(row["history"] == row["exclude"] == [] and row["context"] == b"" for row in found)


def test_ids_of_a_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_bytes(b"ann\r\n\n bob\nann")
    assert [row["user_id"] for row in rows(tmp_path / "users.txt", model)] == ["ann", " bob", "ann"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user_id\nann\n", "its first line is a header, user_id, which a file of ids must not have"),
        (b'plan;"user_id"\nx;ann\n', "its first line is a header, plan;.user_id., which"),
        (b"ann\rbob\r", "its lines end by carriage returns alone"),
        (b"a\0n\0n\0\n\0", " holds zero bytes: save it as UTF-8"),
        (b'{"user_id": "ann"}\n', """ holds JSON, '{"user_id": "ann"}': a file of ids has an id a line"""),
        (b'["ann", "bob"]', " holds JSON"),
        (b"<!DOCTYPE html>\n", " begins with '<!DOCTYPE html>': a file of ids has an id a line"),
        (b'"ann"\n"bob"\n', 'its ids stand in quotes, as "ann": take these off'),
    ],
)
def test_what_is_no_file_of_ids(model: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "users.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"--users .*users\.csv:? ?{message}"):
        rows(tmp_path / "users.csv", model)


def test_a_mark_of_byte_order_belongs_to_no_id(model: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_bytes(b"\xef\xbb\xbfann\nbob\n")
    assert [row["user_id"] for row in rows(tmp_path / "users.txt", model)] == ["ann", "bob"]
    (tmp_path / "users.jsonl").write_bytes(b'\xef\xbb\xbf{"user_id": "ann"}\n')
    assert [row["user_id"] for row in rows(tmp_path / "users.jsonl", model)] == ["ann"]


def test_items_of_the_model_or_a_file(model: Path, tmp_path: Path) -> None:
    (model / "assets" / "items.txt").write_text("a,b\n 2\n🎬", encoding="utf-8")
    (tmp_path / "items.txt").write_bytes(b"x\r\n\n y\nx")
    path = tmp_path / "queries"
    for items, expected in ((ALL, ["a,b", " 2", "🎬"]), (str(tmp_path / "items.txt"), ["x", " y", "x"])):
        assert write_items(items, model, path) == 3
        assert read_queries(path).to_pylist() == [{"item_id": item} for item in expected]
    (tmp_path / "items.txt").write_bytes(b"\n\n")
    with pytest.raises(InputError, match=r"^--items .*items\.txt: there are no items in it$"):
        write_items(str(tmp_path / "items.txt"), model, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "items.txt").write_bytes(b"item_id\n1\n")
    with pytest.raises(InputError, match=r"^--items .*items\.txt: its first line is a header, item_id, which a file"):
        write_items(str(tmp_path / "items.txt"), model, tmp_path / "none")
    with pytest.raises(
        InputError, match=r"^--items nowhere: can't be read: .*; it is all, or a file with an id a line$"
    ):
        write_items("nowhere", model, path)


def test_more_users_than_are_in_memory_at_a_time(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.batch.queries._ROWS", 7)
    ids = [f"user {number}" for number in range(50)]
    (tmp_path / "users.txt").write_text("\n".join(ids))
    assert [row["user_id"] for row in rows(tmp_path / "users.txt", model)] == ids


def test_rows_with_a_history_of_their_own(model: Path, tmp_path: Path) -> None:
    lines = [
        {"user_id": "ann"},
        {"user_id": "new 1", "history": ["b", "a"], "exclude": ["c"], "context": {"device": "ios", "age": 30}},
    ]
    (tmp_path / "users.JSONL").write_text("\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    first, second = rows(tmp_path / "users.JSONL", model, {"device": "tv", "tags": ["x", "y"]})
    assert (first["history"], first["exclude"]) == ([], [])
    assert features_of(first["context"]) == {"device": [b"tv"], "tags": [b"x", b"y"]}
    assert (second["history"], second["exclude"]) == (["b", "a"], ["c"])
    # What a row says counts more than what is said of all.
    assert features_of(second["context"]) == {"device": [b"ios"], "tags": [b"x", b"y"], "age": [30.0]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[" * 200_000, "line 2: no JSON"),
        ('{"user_id": ' + "9" * 5_000 + "}", "line 2: "),
        ("[1]", "line 2: the line: .*dict"),
        ('{"user_id": 42}', r"line 2: user_id: .*string \(got 42\); a line is such as"),
        ('{"user_id": ""}', "line 2: user_id: "),
        ("{}", "line 2: user_id: Field required"),
        ('{"user_id": "a", "histroy": []}', "line 2: histroy: "),
        ('{"user_id": "a", "history": "b"}', "line 2: history: "),
        ('{"user_id": "a", "exclude": [1]}', "line 2: exclude.0: "),
        ('{"user_id": "a\\nb"}', "line 2: user_id has a line break"),
        ('{"user_id": "\\ud800"}', "line 2: user_id: .*unicode"),
        (
            '{"user_id": "a", "context": {"os": "mac"}}',
            "line 2: the model takes no feature 'os' .it takes: age, device",
        ),
    ],
)
def test_a_wrong_line(model: Path, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "users.jsonl").write_text('{"user_id": "ann"}\n' + line)
    with pytest.raises(InputError, match=message):
        rows(tmp_path / "users.jsonl", model)
    assert not list(tmp_path.glob("queries*"))


@pytest.mark.parametrize("content", [None, b"\n\n", b"\xff\xfe"], ids=["absent", "empty", "not UTF-8"])
def test_a_file_without_users(model: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "who.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"--users .*who\.txt"):
        rows(tmp_path / "who.txt", model)
    assert not list(tmp_path.glob("queries*"))


def test_a_model_without_users(model: Path) -> None:
    (model / "assets" / "users.txt").write_bytes(b"")
    with pytest.raises(InputError, match="the model knows no users; name some by --users FILE"):
        rows(ALL, model)


AT = datetime.datetime(2026, 1, 31, 20, 15)
MICROSECONDS = 1_769_890_500_000_000
"""2026-01-31 20:15 UTC: 20,484 days and 72,900 seconds."""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("device", "ios", [b"ios"]),
        ("tags", ["a", "ä"], [b"a", "ä".encode()]),
        ("age", 30, [30.0]),
        ("timestamp", AT, [MICROSECONDS]),
        ("timestamp", "2026-01-31T20:15:00", [MICROSECONDS]),
        ("timestamp", "2026-01-31T21:15:00+01:00", [MICROSECONDS]),
        ("timestamp", "2026-01-31T20:15:00Z", [MICROSECONDS]),
        ("timestamp", MICROSECONDS, [MICROSECONDS]),
    ],
)
def test_context(name: str, value: Any, expected: list[Any]) -> None:
    assert features_of(serialized_context({name: value}, FEATURES, "here")) == {name: expected}


def test_no_context() -> None:
    assert serialized_context({}, FEATURES, "here") == b""
    assert serialized_context({"age": None, "tags": []}, FEATURES, "here") == b""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("device", 7, "device=7: it is a text, so write '7'"),
        ("age", "old", "age='old': it is a number"),
        ("age", True, "it is a number"),
        ("age", 1e39, "no number that a model can read"),
        ("age", float("nan"), "no number that a model can read"),
        ("timestamp", "soon", "it is no time, such as"),
        ("timestamp", 1.5, "it is one time"),
        ("os", "mac", "the model takes no feature 'os'"),
    ],
)
def test_a_context_that_the_model_can_not_take(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^here: .*{message}"):
        serialized_context({name: value}, FEATURES, "here")
