"""Logs of answers as they are found: torn, of others, in folders, being finished meanwhile."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.feedback.answers import DAMAGED, GONE, OTHERS, find_logs, read_logs
from tests.pipeline.feedback.shop import answer, write_answers


def read(paths, counts=None):
    return [
        row for table in read_logs(paths, "shop", Counter() if counts is None else counts) for row in table.to_pylist()
    ]


def test_a_list_as_it_was_logged(tmp_path: Path) -> None:
    exploration = {"share": 0.1, "first": 2}
    shuffled = answer("ann", 7, ["b", "a"], exploration=exploration, order=[1, 0], history=["x", "w"], logged=1)
    write_answers(
        tmp_path / "one.jsonl", [shuffled, answer(None, 8, [], version=None, label=None, context={"b": 1, "a": 2})]
    )
    first, second = read([tmp_path / "one.jsonl"])
    assert (first["user"], first["time"], first["version"], first["label"]) == ("ann", 7_000_000, 1, "stable")
    assert (first["items"], first["scores"], first["history"]) == (["b", "a"], [0.0, -1.0], ["x"])
    assert (first["history_length"], first["explored"], first["first"], first["order"]) == (2, 0.1, 2, [1, 0])
    assert (second["user"], second["version"], second["items"], second["explored"]) == (None, None, [], None)
    assert json.loads(second["context"]) == {"a": 2, "b": 1}


WRONG = [
    b"",
    b"[]",
    b"null",
    b'{"format": 1}',
    b'{"format": 1, "model": "shop", "cut',
    b"\xff\xfe",
    b"[" * 100_000,
    *(
        json.dumps({**answer("ann", 7, ["a"]), name: wrong}).encode()
        for name, wrong in (
            ("items", "abc"),
            ("items", [1]),
            ("items", None),
            ("time", "now"),
            ("user", 7),
            ("version", "new"),
            ("history", [None, 3]),
            ("order", ["a"]),
            ("row", None),
            ("ruled", "no"),
            ("scores", ["high"]),
            ("scores", [10**400]),
            ("time", 10**30),
            ("time", -1),
            ("time", True),
            ("version", 2**70),
            ("user", "\ud800"),
            ("items", ["\ud800"]),
            ("exploration", {"share": float("nan"), "first": 3}),
            ("exploration", {"share": 0.5, "first": -3}),
        )
    ),
]


@pytest.mark.parametrize("line", WRONG)
def test_a_line_that_cant_be_read_is_counted(tmp_path: Path, line: bytes) -> None:
    good = json.dumps(answer("ann", 7, ["a"])).encode()
    (tmp_path / "one.jsonl").write_bytes(b"\n".join([good, line, good]) + b"\n")
    counts: Counter[str] = Counter()
    assert [row["items"] for row in read([tmp_path / "one.jsonl"], counts)] == [["a"], ["a"]]
    assert counts == {DAMAGED: 1}


def test_lists_of_others_and_of_a_newer_version(tmp_path: Path) -> None:
    write_answers(tmp_path / "one.jsonl", [answer("ann", 7, ["a"], model="other")])
    counts: Counter[str] = Counter()
    assert read([tmp_path / "one.jsonl"], counts) == []
    assert counts == {OTHERS: 1}
    write_answers(tmp_path / "two.jsonl", [{**answer("ann", 7, ["a"]), "format": 2}])
    with pytest.raises(InputError, match=r"two\.jsonl: a newer version of this project wrote it"):
        read([tmp_path / "two.jsonl"])


def test_files_globs_and_folders(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.jsonl.part", "d.txt"):
        write_answers(tmp_path / name, [answer("ann", 7, [name])])
    assert [path.name for path in find_logs([str(tmp_path / "*.jsonl"), str(tmp_path / "a.jsonl")])] == [
        "a.jsonl",
        "b.jsonl",
    ]
    found = find_logs([str(tmp_path)])
    assert [path.name for path in found] == ["a.jsonl", "b.jsonl", "c.jsonl.part"]
    (tmp_path / "c.jsonl.part").rename(tmp_path / "c.jsonl")  # finished meanwhile
    again = [*found, tmp_path / "c.jsonl"]
    assert [row["items"] for row in read(again)] == [["a.jsonl"], ["b.jsonl"], ["c.jsonl.part"]]
    with pytest.raises(InputError, match=r"--log .*none: there is no such log"):
        find_logs([str(tmp_path / "none")])
    (tmp_path / "b.jsonl").unlink()
    counts: Counter[str] = Counter()
    assert [row["items"] for row in read(found, counts)] == [["a.jsonl"], ["c.jsonl.part"]]
    assert counts == {GONE: 1}
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        read([tmp_path])


def test_logs_that_are_zipped_and_cut_and_those_that_are_named_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(json.dumps(answer(user, 7, ["a"])) + "\n" for user in ("ann", "bob", "cleo")).encode()
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "one.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "answers" / "two.jsonl.gz").write_bytes(gzip.compress(lines)[:-9])
    (tmp_path / "link").symlink_to(tmp_path / "answers")
    monkeypatch.chdir(tmp_path)
    paths = find_logs(["answers", str(tmp_path / "answers"), "link/*.gz"])
    assert [path.name for path in paths] == ["one.jsonl.gz", "two.jsonl.gz"]
    counts: Counter[str] = Counter()
    assert [row["user"] for row in read(paths[:1], counts)] == ["ann", "bob", "cleo"]
    assert counts == {}
    found = [row["user"] for row in read(paths[1:], counts)]
    assert found == ["ann", "bob", "cleo"][: len(found)]
    assert counts[DAMAGED] == 1
