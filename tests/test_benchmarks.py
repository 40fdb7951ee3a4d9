"""The parts of the benchmarks that decide what their tables say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import audience, failover, open_load, overload, quality, serving, serving_load, training
from benchmarks.quality import Variant
from components.errors import InputError
from components.evaluation_report import Report
from pipeline.config import Config
from serving.client import ServerError
from tests.components.conftest import write_examples
from tests.serving.misbehaving import Fail, FakeServer, Reply

RECIPE = "configs/movielens_100k.yaml"
TEST = {"candidate": {"count": 20.0, "hit_rate@10": 0.2, "ndcg@10": 0.1}, "ease": {"count": 20.0, "hit_rate@10": 0.15}}


def write_queries(folder: Path, queries: list[tuple[str, list[str]]]) -> str:
    """Examples with the item that followed and what was seen."""
    import tensorflow as tf

    def feature(values: list[str]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    (folder / "Split-eval").mkdir()
    with tf.io.TFRecordWriter(str(folder / "Split-eval" / "examples-0.gz"), "GZIP") as writer:
        for item, seen in queries:
            features = {"user_id": feature(["u"]), "item_id": feature([item]), "seen": feature(seen)}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return str(folder)


def test_hit_rate_at_10(tmp_path):
    items = np.array([f"{i}".encode() for i in range(14)])
    scores = -np.arange(14.0)
    scores[[10, 11]] = scores[9]  # 9, 10, 11 are equal: 9 is the tenth
    queries = [
        ("9", []),  # a hit at the last place
        ("10", []),  # equal to it, but later: the eleventh
        ("10", ["0"]),  # one better item was seen: the tenth
        ("11", ["0"]),
        ("13", [f"{i}" for i in range(13)]),  # all others seen
        ("3", ["3"]),  # seen itself: can't be found
    ]
    found = training.hit_rate_at_10(
        lambda records, batch: np.tile(scores, (len(records), 1)), items, write_queries(tmp_path, queries)
    )
    assert found == 3 / 6


def test_no_run_yet(tmp_path):
    with pytest.raises(SystemExit, match="make one with `recommender run`"):
        training.newest_training(Config(name="shop", output=tmp_path, data={"interactions": {"path": "log.csv"}}))
    assert not list(tmp_path.iterdir())


def test_spread():
    assert quality.spread([0.1, 0.2, 0.3]) == "0.2000 (0.1000–0.3000)"
    assert quality.spread([7, 9], "{:.0f}") == "8 (7–9)"
    assert quality.spread([0.5]) == "0.5000"
    assert quality.spread([0.5, None]) == quality.spread([]) == ""


def test_table():
    result = {"validation": {"hit@10": 0.3, "ndcg@10": 0.2}, "epochs": 4, "seconds": 12.3, "test": TEST}
    untested = {**result, "test": None}
    text = quality.table({Variant("chosen", (), True): [result], Variant("less", (), False): [untested]})
    assert text.splitlines() == [
        "One seed; 20 test queries.",
        "",
        "|  | validation hit@10 | validation NDCG@10 | hit@10 | hit@100 | NDCG@10 | epochs | Trainer, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| chosen | 0.3000 | 0.2000 | 0.2000 |  | 0.1000 | 4 | 12 |",
        "| less | 0.3000 | 0.2000 |  |  |  | 4 | 12 |",
        "| ease |  |  | 0.1500 |  |  |  |  |",
    ]


@pytest.mark.slow
@pytest.mark.smoke
def test_our_ablations_are_right():
    """Each changes settings that there are; nothing runs."""
    from pipeline.config import load_config

    recipe = load_config(RECIPE)
    variants = quality.read_ablations("benchmarks/ablations.yaml", recipe.name, ["seed=1"], test=False)
    assert len({load_config(RECIPE, variant.overrides).model_dump_json() for variant in variants}) == len(variants)
    assert all(variant.overrides[0] == "seed=1" for variant in variants)


@pytest.mark.parametrize("content", ["other: {a: {}}", "movielens_100k: [a]", "movielens_100k: {a: b}", "- a", "{", ""])
def test_wrong_ablations(tmp_path, content):
    file = tmp_path / "ablations.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match="no ablations of movielens_100k"):
        quality.read_ablations(file, "movielens_100k", [], test=False)


@pytest.fixture
def runs(monkeypatch):
    """The runs that `measure` makes, as (overrides, whole)."""
    made = []
    monkeypatch.setattr(quality, "_run", lambda recipe, overrides, whole: made.append((overrides, whole)))
    monkeypatch.setattr(
        quality, "_read_result", lambda config, test: {"seed": config.seed, "test": TEST if test else None}
    )
    return made


@pytest.mark.slow
@pytest.mark.smoke
def test_measured_once(runs, tmp_path):
    chosen, less = Variant("chosen", (), True), Variant("less", ("training.log_q=false",), False)
    first = quality.measure(RECIPE, tmp_path, [chosen, less], [7, 8])
    assert [result["seed"] for result in first[less]] == [7, 8]
    assert [whole for _, whole in runs] == [True, True, False, False]
    places = [next(o for o in overrides if o.startswith("serving.base_path=")) for overrides, _ in runs]
    assert len(set(places)) == 4
    assert {f"output={tmp_path}", "seed=7"} < set(runs[0][0])

    runs.clear()
    assert quality.measure(RECIPE, tmp_path, [chosen, less], [7, 8]) == first
    assert not runs
    # Only what is new is run: another seed, and the test queries of an ablation that has only been trained.
    quality.measure(RECIPE, tmp_path, [chosen, Variant("less", less.overrides, True)], [8, 9])
    assert [(overrides[-3], whole) for overrides, whole in runs] == [
        ("seed=9", True),
        ("seed=8", True),
        ("seed=9", True),
    ]


def test_all_overrides_are_checked_before_anything_runs(runs, tmp_path):
    with pytest.raises(InputError, match="no_such_key"):
        quality.measure(RECIPE, tmp_path, [Variant("a", (), True), Variant("b", ("model.no_such_key=1",), True)], [1])
    assert not runs


def test_killed_runs_keep_what_was_measured(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        quality, "_run", lambda recipe, overrides, whole: "seed=2" in overrides and pytest.exit("killed")
    )
    with pytest.raises(pytest.exit.Exception):
        quality.measure(RECIPE, tmp_path, [Variant("a", (), True)], [1, 2])
    (kept,) = json.loads((tmp_path / "quality.json").read_text()).values()
    assert kept["seed"] == 1


def test_serving_table():
    def result(kind: str, clients: int, p50: float, qps: float) -> serving.Result:
        return {
            "items": 5,
            "kind": kind,
            "clients": clients,
            "p50_ms": p50,
            "p99_ms": 2 * p50,
            "qps": qps,
            "cpu_ms": p50,
        }

    results = [
        result("direct", 1, 1.0, 1000),
        result("grpc", 1, 1.5, 600),
        result("fastapi", 1, 4.0, 200),
        result("direct", 32, 10.0, 1200),
        result("grpc", 32, 30.0, 900),
        result("fastapi", 32, 60.0, 300),
    ]
    assert serving.table(results, {"grpc": 512.4, "fastapi": 700.0}).splitlines() == [
        "| p50 / p99 ms, QPS, CPU ms | 1 clients | 32 clients | memory, MB |",
        "| --- | ---: | ---: | ---: |",
        "| direct | 1.00 / 2.00, 1,000, 1.00 | 10.00 / 20.00, 1,200, 10.00 |  |",
        "| grpc | 1.50 / 3.00, 600, 1.50 | 30.00 / 60.00, 900, 30.00 | 512 |",
        "| fastapi | 4.00 / 8.00, 200, 4.00 | 60.00 / 120.00, 300, 60.00 | 700 |",
        "",
        "gRPC p50 at 1 clients: +0.50 ms over the direct call",
        "QPS at 32 clients: grpc 3.00 times fastapi",
    ]


def test_serving_queries():
    """The same for every kind of server, of users and items that there are."""
    queries = serving_load.queries(100)
    assert queries == serving_load.queries(100)
    known, strangers = queries[::2], queries[1::2]
    assert all(user and not history for user, history in known)
    assert all(not user and len(history) == serving_load.HISTORY for user, history in strangers)
    assert {item for _, history in strangers for item in history} <= {serving_load.item_id(row) for row in range(100)}


def test_moments_of_an_open_load():
    due = open_load.moments(500, 4, 1)
    assert due.tolist() == sorted(due.tolist())
    assert 0 <= due[0] < due[-1] < 4
    assert abs(len(due) - 2000) < 6 * 2000**0.5
    assert due.tolist() != open_load.moments(500, 4, 2).tolist()


def test_an_open_load_waits_for_nobody():
    """Each request is sent when it is due, and its time counts from then, also where answers take long."""
    running, most = 0, 0

    async def ask(request: bytes) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.2)
        running -= 1
        return request.decode()

    due = np.array([0.0, 0.01, 0.02, 0.03])
    found = asyncio.run(open_load.load(ask, [b"OK", b"NOT_FOUND"], due, time.monotonic() + 0.05))
    assert most == 4
    assert [one.code for one in found] == ["OK", "NOT_FOUND"] * 2
    assert [one.due for one in found] == due.tolist()
    assert all(0.2 <= one.seconds < 2 and 0 <= one.lag < 1 for one in found)


def asked(due: float, seconds: float, code: str = "OK") -> open_load.Asked:
    return open_load.Asked(due, 0.0, seconds, code)


def test_recovery_from_a_flood():
    after = [asked(0.0, 0.7), asked(0.5, 0.2, "RESOURCE_EXHAUSTED"), asked(1.0, 0.5), asked(2.0, 0.1)]
    assert [overload.outcome(one, 0.5) for one in after] == ["late", "RESOURCE_EXHAUSTED", "OK", "OK"]
    assert overload.recovery(after, 0.5) == 0.7
    assert overload.recovery(after[2:], 0.5) == 0


def test_the_verdict_on_a_flood():
    verdict = overload.Verdict(
        transport="grpc",
        capacity=1000.0,
        good_put=800.0,
        p99=0.45,
        outcomes={"OK": 8000, "RESOURCE_EXHAUSTED": 20_000, "CANCELLED": 1500, "late": 400, "DEADLINE_EXCEEDED": 100},
        memory_mb=900.0,
        limit_mb=1000.0,
        recovery=1.25,
        lag=0.01,
        deadline=0.5,
    )
    assert verdict.complaints() == []
    assert overload.table([verdict]).splitlines()[-1] == (
        "| grpc | 1,000/s | 800/s (80%) | 450 ms | 21,500 | 500 | 900 (1,000) | 1.2 s | 10 ms |"
    )
    bad = {"good_put": 799.0, "p99": 0.51, "memory_mb": 1001.0, "recovery": 5.1, "lag": 0.2}
    for name, value in bad.items():
        assert len(replace(verdict, **{name: value}).complaints()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_an_open_load_on_a_server(kind):
    def behave(number, seen):
        return Fail("RESOURCE_EXHAUSTED") if number % 2 else Reply()

    async def run(target):
        ask = open_load.OPEN[kind](target, 5.0)
        request = serving_load.ASKERS[kind](target).write(("user-1", ["item-1"]))
        return await open_load.load(ask, [request], np.linspace(0, 0.2, 20), time.monotonic())

    with FakeServer(kind, behave) as server:
        found = asyncio.run(run(server.target))
    codes = [one.code for one in found]
    assert (codes.count("OK"), codes.count("RESOURCE_EXHAUSTED")) == (10, 10)


@pytest.mark.slow
@pytest.mark.smoke
def test_calls_at_a_steady_rate():
    """A call that takes long holds up those of its thread, and their time counts all the same."""

    class Client:
        asked = 0

        def recommend(self, user, history):
            self.asked += 1
            if self.asked == 1:
                time.sleep(0.5)
            if user is None:
                raise ServerError("on purpose")

    client = Client()
    with failover.Load(client, [("user-1", []), ("", ["item-1"])], rate=160) as load:  # each thread ten a second
        time.sleep(0.25)
        load.part = "killed"
        time.sleep(0.5)
    assert 60 <= len(load.calls) == client.asked <= 160
    assert {call.part for call in load.calls} == {"calm", "killed"}
    assert {call.error for call in load.calls} == {"", "ServerError: on purpose"}
    assert sum(call.seconds > 0.2 for call in load.calls) >= 3  # the slow one, and the next ones of its thread


def test_failover_table():
    calls = [failover.Call("calm", 0.001 * number, "") for number in range(1, 102)]
    calls += [failover.Call("killed", 0.02, ""), failover.Call("killed", 0.04, "DeadlineExceeded: no answer")]
    outcome = failover.Outcome("grpc", 2, calls, {})
    assert [call.part for call in outcome.failed()] == ["killed"]
    assert failover.table([outcome]).splitlines()[-1] == (
        "| grpc, 2 replicas | 101, 0; 51 / 100 / 101 | 2, 1; 30 / 40 / 40 | 0, 0; 0 / 0 / 0 | 0, 0; 0 / 0 / 0"
        " | 0, 0; 0 / 0 / 0 |"
    )


class FakeClient:
    """Answers with the item after the newest of the history, or `skip` places later, and the one after that."""

    def recommend_batch(self, queries, k: int):
        from serving.client.results import Recommendation, RecommendationList

        answers = []
        for query in queries:
            first = int(query.history[0][1:]) + 1 if query.history else 0
            first += int(query.context.get("skip", [0])[0])
            ids = [item for item in (f"i{first:02}", f"i{first + 1:02}") if item not in query.exclude]
            answers.append(RecommendationList(tuple(Recommendation(item, 0.0) for item in ids[:k]), "history"))
        return answers


def test_served_metrics(tmp_path: Path) -> None:
    from benchmarks.served_metrics import served_metrics, served_ranks

    queries = [
        {"user_id": "a", "item_id": "i01", "history": ["i00"], "seen": ["i00"]},  # rank 0
        {"user_id": "b", "item_id": "i02", "history": ["i00"], "seen": []},  # rank 1
        {"user_id": "c", "item_id": "i02", "history": ["i00"], "seen": ["i01"]},  # rank 0: i01 is excluded
        {"user_id": "d", "item_id": "i09", "history": [], "seen": []},  # missed
        {"user_id": "e", "item_id": "i05", "history": ["i00"], "seen": [], "skip": 3.0},  # rank 1
    ]
    write_examples(tmp_path, "eval", [{"user_type": "known", **query} for query in queries])
    figures = {"count": 4, "hit_rate@1": 0.5, "ndcg@2": 0.6, "mrr": 0.625, "gini@1": 0.9}
    report = Report({"candidate": {"overall": figures}}, (), True, "mrr", {"candidate": 2}, "all", 3, 50)
    ranks = served_ranks(FakeClient(), str(tmp_path), report, {"skip": float})
    assert ranks.tolist() == [0, 1, 0, 2, 1]
    assert served_metrics(ranks, report) == {
        "hit_rate@1": 2 / 5,
        "ndcg@2": pytest.approx((1 + 1 / np.log2(3) + 1 + 1 / np.log2(3)) / 5),
        "mrr": (1 + 1 / 2 + 1 + 1 / 2) / 5,
    }


def test_places_among_the_users_of_an_item():
    scores = np.array([[3.0, 0.0], [1.0, 5.0], [2.0, -np.inf], [1.0, 7.0]])
    found = audience.places(scores, np.array([0, 1, 3, 1]), np.array([0, 0, 0, 1]))
    assert found.tolist() == [0, 2.5, 2.5, 1]


def test_scores_that_users_can_be_compared_by():
    scores = np.array([[1.0, 3.0, 2.0], [10.0, 30.0, 20.0]])
    ways = {name: values.tolist() for name, values in audience.ways(scores).items()}
    assert ways["score less the user's mean"] == [[-1, 1, 0], [-10, 10, 0]]
    first, second = ways["score less the user's mean over their deviation"]
    assert first == pytest.approx(second)
    assert ways["rank among the user's items"] == [[-2, 0, -1], [-2, 0, -1]]


@pytest.mark.slow
def test_reading_is_timed_with_each_version_by_its_own_benchmark():
    command = [sys.executable, "-m", "benchmarks.interaction_gen", "--rows=500", "--runs=1", "--only=InteractionGen"]
    said = subprocess.run([*command, "--before=."], capture_output=True, text=True, check=True).stdout
    rows = [line.split("  ")[1] for line in said.splitlines() if line.startswith("run 1 ")]
    assert rows == ["InteractionGen", "before", "from JSON lines", "from Parquet"]
