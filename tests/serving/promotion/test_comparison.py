"""Both labels asked the same, and the verdict over the canary."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.client import Query
from serving.promotion import Limits, WrongPromotion, compare, comparison
from serving.promotion import replica as replica_module
from tests.serving.fake_replica import ITEMS, publish
from tests.serving.promotion.world import M, World


def on_trial(world: World, broken: str) -> list[str]:
    """Version 1 is stable, version 4 the canary; returns the targets."""
    publish(world.base, M, 4, broken)
    world.promoter().promote(1, "stable")
    if broken in ("answers", "fails"):  # which wouldn't be promoted: it breaks afterwards
        path = world.base / M / "4" / "saved_model.pb"
        path.write_text("")
        world.promoter().promote(4, "canary")
        path.write_text(broken)
        for replica in world.replicas:
            replica.poll()
    else:
        world.promoter().promote(4, "canary")
    return [replica.target for replica in world.replicas]


@pytest.mark.slow
@pytest.mark.smoke
def test_compare_a_canary_that_is_as_good(world: World) -> None:
    limits = Limits(max_p99_ratio=1000.0)  # the machine may be busy
    found = compare(world.base, M, on_trial(world, ""), num_queries=30, limits=limits)
    assert found.passed
    assert (found.overlap, found.same_first) == (1.0, 1.0)
    assert [(side.label, side.version, side.requests, side.errors) for side in (found.stable, found.canary)] == [
        ("stable", 1, 30, 0),
        ("canary", 4, 30, 0),
    ]
    assert 0 < found.canary.percentile(0.5) <= found.canary.percentile(0.99)


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        # Of ten items each, none is in both lists; but where the first item is left out, one of stable's ten is.
        ("reversed", "overlap with stable's items: 0.050, at least 0.1 is wanted"),
        # Of two queries one has a history, the first item.
        ("answers", "10 of 20 answers failed or were wrong (item 'i00', which was seen or excluded), stable: 0"),
        ("fails", "10 of 20 answers failed or were wrong ("),
    ],
)
def test_compare_a_canary_that_is_worse(world: World, broken: str, message: str) -> None:
    targets = on_trial(world, broken)
    queries = [Query(history=["i00"]), Query("ann")]
    found = compare(world.base, M, targets, queries, num_queries=20, limits=Limits(max_p99_ratio=1000.0))
    [failure] = found.failures
    assert failure.startswith(message)
    assert not found.passed


@pytest.mark.parametrize(
    ("slow", "ratio", "failures"),
    [
        (20.0, 2.0, []),
        (21.0, 2.0, ["p99 21.0 ms, more than 2 times stable's 10.0 ms"]),
        (15.0, 1.0, []),  # 5 ms more may be chance
        (15.5, 1.0, ["p99 15.5 ms, more than 1 times stable's 10.0 ms"]),
    ],
)
def test_the_limit_of_the_latency(slow: float, ratio: float, failures: list[str]) -> None:
    # The 99th of 100 times counts, not the last one.
    stable = comparison.Side("stable", 1, 100, times=[1.0] * 98 + [10.0, 500.0])
    canary = comparison.Side("canary", 2, 100, times=[1.0] * 98 + [slow, 900.0])
    assert comparison._failures(stable, canary, 1.0, Limits(max_p99_ratio=ratio)) == failures


def test_compare_asks_whom_the_versions_know(world: World) -> None:
    targets = on_trial(world, "")
    (world.base / M / "4" / "assets").mkdir()
    (world.base / M / "4" / "assets" / "users.txt").write_text("ann\nbob\u2028b\n")
    client = replica_module.Replica(targets[0]).client(M)
    with client:
        queries = comparison._queries(world.base / M, (1, 4), client, 50)
    assert sorted(query.user_id for query in queries if query.user_id) == ["ann", "bob\u2028b"]
    assert sorted(query.history[0] for query in queries if query.history) == ITEMS[:10]
    assert len(queries) == 13


def test_compare_needs_a_trial(world: World) -> None:
    world.promoter().promote(1, "stable")
    with pytest.raises(WrongPromotion, match="no version under trial to compare: begin with canary start VERSION"):
        compare(world.base, M, [world.replicas[0].target])


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("k", "message"), [(0, "k=0: the number of items"), (-1, "k=-1: "), (1_001, "k must be at most 1000$")]
)
def test_what_no_version_answers_is_not_held_against_the_canary(world: World, k: int, message: str) -> None:
    with pytest.raises(WrongPromotion, match=message):
        compare(world.base, M, on_trial(world, ""), k=k)


def test_queries_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"user_id": "42", "history": ["50"]}\n\n{"exclude": ["ä\u2028"]}\n')
    assert comparison.read_queries(path) == [Query("42", ["50"]), Query(exclude=["ä\u2028"])]
    path.write_text('{"user_id": "42"}\n{"user": "42"}\n')
    with pytest.raises(WrongPromotion, match=r"queries.jsonl, line 2: no query: .*'user'"):
        comparison.read_queries(path)
    path.write_text("\n")
    with pytest.raises(WrongPromotion, match="no queries in it"):
        comparison.read_queries(path)
    with pytest.raises(WrongPromotion, match=r"can't be read: .*No such file"):
        comparison.read_queries(tmp_path / "none")
