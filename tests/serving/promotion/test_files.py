"""What promotion keeps under the base path."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path

import pytest

from serving.promotion import Promoter, PromotionLocked, WrongPromotion, files, read_audit
from tests.serving.fake_replica import publish
from tests.serving.promotion.world import M, World


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense {", "not a models.config: 1:"),
        ('model_config_list { config { name: "m" } config { name: "m" } }', "each model has one entry"),
        ("custom_model_config {}", "must be a model_config_list"),
    ],
)
def test_a_models_config_that_makes_no_sense(tmp_path: Path, content: str, message: str) -> None:
    publish(tmp_path, M, 1)
    (tmp_path / "models.config").write_text(content)
    with pytest.raises(WrongPromotion, match=message):
        Promoter(tmp_path, M, []).promote(1, "stable")
    assert (tmp_path / "models.config").read_text() == content


@pytest.mark.slow
@pytest.mark.smoke
def test_a_second_promoter_waits_or_hears_who_is_at_work(world: World) -> None:
    begun, go = threading.Event(), threading.Event()

    def say(message: str) -> None:
        begun.set()
        go.wait(10)

    thread = threading.Thread(target=lambda: world.promoter(say=say).promote(1, "stable"))
    thread.start()
    begun.wait(10)
    with pytest.raises(PromotionLocked, match=rf"'promote m' by .*process {os.getpid()}, 20.*--lock-timeout SECONDS"):
        world.promoter().promote(2, "stable")
    go.set()
    world.promoter(wait=10).promote(2, "stable")
    thread.join()
    assert [entry.to_version for entry in read_audit(world.base)] == [1, 2]


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("torn", [b'{"id": "', b"\xff\xfe"])
def test_the_audit_trail_survives_a_torn_line(world: World, torn: bytes) -> None:
    world.promoter().promote(1, "stable")
    world.promoter().promote(2, "stable")
    path = world.base / "promotions.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    world.promoter().rollback()
    assert [entry.to_version for entry in read_audit(world.base)] == [1, 2, 1]


def test_prune_keeps_what_is_named_and_the_newest(world: World) -> None:
    publish(world.base, M, 4)
    world.promoter().promote(1, "stable")
    world.promoter().promote(2, "stable")
    assert files.prune(world.base, M, 1) == [3]
    assert files.versions_on_disk(world.base, M) == [1, 2, 4]
    assert read_audit(world.base)[-1].why == "serving.retain: 1"
    publish(world.base, M, 5)
    with files.lock(world.base, "promote m"):
        assert files.prune(world.base, M, 1) == [], "not in the middle of a promotion"
    assert files.prune(world.base, M, 4) == []


def test_an_entry_is_one_line_of_json(world: World) -> None:
    entry = world.promoter(why="two\nlines 🎬").promote(1, "stable")
    [line] = (world.base / "promotions.jsonl").read_text().splitlines()
    assert json.loads(line) == {**dataclasses.asdict(entry), "replicas": list(entry.replicas)}
