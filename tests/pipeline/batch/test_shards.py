"""The work in shards: what is missing is made, and made once."""

from __future__ import annotations

import dataclasses
import errno
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from components.errors import InputError
from pipeline.batch import shards
from pipeline.batch.answers import Answers, Wish
from pipeline.batch.outputs import output_of
from pipeline.batch.queries import ITEM_SCHEMA, SCHEMA
from pipeline.batch.shards import Job

USERS = ["ann", "bob", "cy", "dan", "eve"]
ITEMS = {"item_id": pa.array(["a", "b"]), "title": pa.array(["A", "B"])}


class Recommender:
    """Answers everybody with item b; `asked` has the users of each request."""

    def __init__(self, model: Path) -> None:
        self.found = ITEMS
        self.asked: list[list[str]] = []

    def answer(self, queries: pa.Table, wish: Wish) -> Answers:
        if wish.filters:
            raise InputError("the model refuses the request")
        users = queries["user_id"].combine_chunks()
        self.asked.append(users.to_pylist())
        shape = len(users), wish.k
        return Answers(
            {"user_id": users}, np.ones(shape, np.int32), np.zeros(shape, np.float32), pa.array(["user"] * len(users))
        )


class Audiences:
    """Answers every item with user u."""

    def __init__(self, model: Path) -> None:
        self.found = {"user_id": pa.array(["u"])}

    def answer(self, queries: pa.Table, wish: Wish) -> Answers:
        items = queries["item_id"].combine_chunks()
        shape = len(items), wish.k
        return Answers({"item_id": items, "title": items}, np.zeros(shape, np.int32), np.zeros(shape, np.float32))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Five users in shards of two."""
    parts = tmp_path / "parts"
    parts.mkdir()
    return Job("model", "7", Wish(1), "queries", output_of(tmp_path / "top.csv"), str(parts), shard_size=2, shards=3)


@pytest.fixture
def recommender(monkeypatch: pytest.MonkeyPatch) -> Recommender:
    """What the workers ask, in the place of a model, without TensorFlow's seconds."""
    made = Recommender(Path())
    table = pa.table([USERS, [[]] * 5, [[]] * 5, [b""] * 5], schema=SCHEMA)
    asking = ModuleType("pipeline.batch.asking")
    asking.Recommender = lambda model: made  # type: ignore[attr-defined]
    asking.Audiences = Audiences  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, asking.__name__, asking)
    monkeypatch.setattr(shards, "read_queries", lambda path: table)
    return made


def answer(job: Job, *numbers: int) -> None:
    """What a worker does with a bundle of shards, after the job has come to it."""
    work = shards._Answer(pickle.loads(pickle.dumps(job)))
    work.setup()
    try:
        for number in numbers:
            work.process(number)
        work.finish_bundle()
    finally:
        work.teardown()


def test_missing_is_what_has_no_file_of_its_name(job: Job) -> None:
    assert job.part(1) == Path(job.parts, "part-00001-of-00003.csv")
    assert job.missing() == [0, 1, 2]
    job.part(1).touch()
    Path(job.parts, "part-00002-of-00004.csv").touch()  # of work that was cut otherwise
    Path(job.parts, ".part-00000-of-00003.csv.tmp").touch()  # on its way when it was killed
    assert job.missing() == [0, 2]


def test_each_shard_is_answered_for_its_own_users(job: Job, recommender: Recommender) -> None:
    answer(job, 2, 0)
    assert job.missing() == [1]
    assert job.part(0).read_text() == "user_id,top1\nann,b\nbob,b\n"
    assert job.part(2).read_text() == "user_id,top1\neve,b\n"
    assert recommender.asked == [["ann"], ["eve"], ["ann", "bob"]], "one user first, to see whether the wish is taken"


def test_a_wish_that_the_model_refuses_is_refused_before_any_shard(job: Job, recommender: Recommender) -> None:
    with pytest.raises(InputError, match=r"^the model refuses the request$"):
        answer(dataclasses.replace(job, wish=Wish(1, filters=("colour=red",))), 0)
    assert job.missing() == [0, 1, 2]


def test_a_file_that_can_not_be_written_ends_the_work_and_is_named(
    job: Job, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "write_part", full)
    with pytest.raises(InputError, match=r"top\.csv: can't be written: No space left on device"):
        answer(job, 0)


def test_items_are_answered_with_users(job: Job, recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "read_queries", lambda path: pa.table([["a", "b", "c"]], schema=ITEM_SCHEMA))
    answer(job, 1)
    assert job.part(1).read_text() == "item_id,top1\nc,u\n"
    assert recommender.asked == []
