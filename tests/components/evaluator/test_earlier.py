"""Which of the champion's own queries may be asked, and what it led by."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluator.earlier import KEY, Night, are_the_same, count_users, find_fair, read_fair
from components.examples import reading
from tests.components.conftest import write_examples


def event(user: str, item: str, timestamp: int) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": timestamp}


TRAIN = [event("a", "x", 1), event("a", "y", 5), event("b", "x", 8)]
TONIGHT = [event("a", "x", 9), event("b", "y", 7)]
EARLIER = [
    event("a", "y", 5),  # is learned tonight
    event("a", "y", 6),  # is in no log of tonight
    event("a", "x", 7),  # of the moment where tonight's evaluation begins
    event("c", "x", 8),
    event("c", "z", 9),  # of an item that is no more
    event("b", "x", 8),  # is learned tonight
    event("a", "x", 9),
]


@pytest.mark.parametrize(("by", "asked"), [("time", [3, 5, 6]), ("events", [1, 2, 3, 6])])
def test_what_training_had_no_part_in_is_asked(tmp_path: Path, by: Any, asked: list[int]) -> None:
    write_examples(tmp_path / "tonight", "train", TRAIN, shards=2)
    write_examples(tmp_path / "tonight", "eval", TONIGHT)
    write_examples(tmp_path / "earlier", "eval", EARLIER)
    fair = find_fair(str(tmp_path / "tonight"), np.array([b"x", b"y"], dtype=object), by)
    [file] = reading.split_files(str(tmp_path / "earlier"), "eval")
    batches = list(read_fair(file, KEY, 100, 1.0, fair))
    found = [
        event(user.decode(), item.decode(), int(time))
        for batch in batches
        for user, item, time in zip(*(reading.scalars(batch, name) for name in KEY))
    ]
    assert found == [EARLIER[number] for number in asked]
    assert count_users(str(tmp_path / "earlier"), fair) == len({EARLIER[number]["user_id"] for number in asked})


def test_a_lead_is_over_the_best_of_the_rivals_that_there_were() -> None:
    night = Night(metrics={"mrr": 0.3}, baselines={"popularity": {"mrr": 0.1}, "ease": {"mrr": 0.2}})
    assert night.lead("mrr", ("popularity", "ease", "slit")) == pytest.approx(1.5)
    assert night.lead("mrr", ("popularity",)) == pytest.approx(3)
    assert night.lead("mrr", ("slit",)) is None
    assert night.lead("ndcg@10", ("ease",)) is None
    assert Night(metrics={"mrr": 0.2}, baselines=night.baselines).lead("mrr", ("ease",)) is None, "it led nobody"
    assert Night().lead("mrr", ("ease",)) is None


def test_a_second_name_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    write_examples(tmp_path / "tonight", "eval", TONIGHT, shards=2)
    write_examples(tmp_path / "other", "eval", TONIGHT, shards=2)
    linked = tmp_path / "linked"
    shutil.copytree(tmp_path / "tonight", linked, copy_function=os.link)
    assert are_the_same(str(linked), str(tmp_path / "tonight"))
    assert not are_the_same(str(tmp_path / "other"), str(tmp_path / "tonight"))
