"""Canary: whom it takes, how that changes while the client runs, what is asked; and a server that batches."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client import InvalidRequest, Query, RecommenderClient, ServerError, Traffic, TrafficFile
from serving.protos import serving_pb2
from tests.serving.misbehaving import Awaited, Fail, FakeServer, Reply

pytestmark = pytest.mark.smoke

_USERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, transport: str) -> Callable[..., Any]:
    """Makes a client of either kind, over each transport in turn."""
    return lambda target, **options: request.param(target, model="m", transport=transport, timeout=5, **options)


def by_label(number: int, seen: Any) -> Reply:
    """The canary is version 2 and recommends `new`."""
    return Reply(("new",), version=2) if seen.label == "canary" else Reply(("old",), version=1)


# Whom


def test_the_hash_is_what_the_documentation_says():
    # printf 'salt42' | sha256sum
    digest = "ba5bf48c9d94fef6"
    assert hashlib.sha256(b"salt42").hexdigest().startswith(digest)
    place = int(digest, 16) / 2**64
    assert not Traffic("canary", place - 1e-9, "salt").takes("42")
    assert Traffic("canary", place + 1e-9, "salt").takes("42")


@pytest.mark.slow
@pytest.mark.smoke
@settings(deadline=None)
@given(_USERS, st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1), st.floats(0, 1))
def test_a_user_stays_while_the_share_grows(user, salt, one, other):
    low, high = sorted((one, other))
    assert Traffic("c", high, salt).takes(user) or not Traffic("c", low, salt).takes(user)
    assert Traffic("c", 1, salt).takes(user)
    assert not Traffic("c", 0, salt).takes(user)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_share_is_kept(share):
    taken = [sum(Traffic("c", share, salt).takes(str(user)) for user in range(10_000)) for salt in ("", "other")]
    assert taken == pytest.approx([10_000 * share] * 2, rel=0.15)
    both = sum(
        Traffic("c", share, "").takes(str(u)) and Traffic("c", share, "other").takes(str(u)) for u in range(10_000)
    )
    assert both == pytest.approx(10_000 * share**2, abs=200)


def test_who_has_no_id_is_drawn_by_chance():
    traffic = Traffic("c", 0.5)
    assert 300 < sum(traffic.takes("") for _ in range(1000)) < 700
    assert not any(Traffic("c", 0).takes("") for _ in range(100))
    assert all(Traffic("c", 1).takes("") for _ in range(100))


@pytest.mark.parametrize(
    "arguments",
    [("", 0.5), (None, 0.5), ("c", -0.1), ("c", 1.1), ("c", float("nan")), ("c", "5%"), ("c", True), ("c", 0, 3)],
)
def test_wrong_traffic(arguments):
    with pytest.raises(InvalidRequest, match="traffic: "):
        Traffic(*arguments)


# What is asked


def test_users_are_sent_to_their_side(make, transport):
    traffic = Traffic("canary", 0.5, "s")
    users = [str(number) for number in range(20)]
    expected = ["new" if traffic.takes(user) else "old" for user in users]
    assert len(set(expected)) == 2
    with FakeServer(transport, by_label) as server, make(server.target, traffic=traffic) as client:
        answers = [client.recommend(user) for user in users]
        assert [answer.item_ids[0] for answer in answers] == expected
        assert [answer.label for answer in answers] == ["canary" if item == "new" else None for item in expected]
        if transport == "grpc":
            assert [answer.version for answer in answers] == [2 if item == "new" else 1 for item in expected]
        before = len(server.seen)
        batch = client.recommend_batch([Query(user) for user in users])
        assert [answer.item_ids[0] for answer in batch] == expected
        assert len(server.seen) == before + 2
        calls = client.metrics.snapshot().calls
        assert calls["recommend", "canary", "ok"] == expected.count("new") + 1
        for user, item in zip(users, expected):
            assert client.score(user, [], ["1"]) == [2.0 if item == "new" else 1.0]


def test_traffic_is_set_at_run_time(make, transport):
    with FakeServer(transport, by_label) as server, make(server.target, label="stable") as client:
        assert client.recommend("ann").label == "stable"
        client.traffic = Traffic("canary", 1)
        assert client.recommend("ann").item_ids == ["new"]
        client.traffic = None
        assert client.recommend("ann").item_ids == ["old"]
        assert [seen.label for seen in server.seen] == ["stable", "canary", "stable"]


@pytest.mark.parametrize(
    "unknown",
    [Fail("INVALID_ARGUMENT", "Unrecognized servable version label: canary"), Fail("NOT_FOUND", "no such version")],
)
def test_a_canary_that_the_server_does_not_know_is_passed_over(make, transport, unknown):
    behave = lambda number, seen: unknown if seen.label == "canary" else Reply(("old",))  # noqa: E731
    with FakeServer(transport, behave) as server, make(server.target, traffic=Traffic("canary", 1)) as client:
        answer = client.recommend("ann")
        assert (answer.item_ids, answer.label, answer.fallback) == (["old"], None, False)
        assert client.recommend_batch([Query("ann"), Query("bob")])[1].item_ids == ["old"]
        assert client.metrics.snapshot().events == {"canary_unknown": 3}


@pytest.mark.parametrize(("failure", "error"), [("INVALID_ARGUMENT", InvalidRequest), ("INTERNAL", ServerError)])
def test_other_failures_of_the_canary_show(make, transport, failure, error):
    behave = lambda number, seen: Fail(failure) if seen.label == "canary" else Reply()  # noqa: E731
    with FakeServer(transport, behave) as server, make(server.target, traffic=Traffic("canary", 1)) as client:
        with pytest.raises(error):
            client.recommend("ann")
        assert len(server.seen) == 1


def test_a_side_that_fails_falls_back_alone(make, transport):
    behave = lambda number, seen: Fail("INTERNAL") if seen.label == "canary" else Reply(("old",))  # noqa: E731
    traffic = Traffic("canary", 0.5, "s")
    users = [str(number) for number in range(10)]
    with FakeServer(transport, behave) as server, make(server.target, traffic=traffic, fallback=["9"]) as client:
        answers = client.recommend_batch([Query(user) for user in users])
    assert [answer.fallback for answer in answers] == [traffic.takes(user) for user in users]
    assert {answer.item_ids[0] for answer in answers} == {"9", "old"}


# The file


def test_the_file_is_read_again_when_it_changes(make, transport, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.client.files._POLL_SECONDS", 0.0)
    path = tmp_path / "traffic.json"

    def write(text: str) -> None:
        (tmp_path / "new").write_text(text)
        os.replace(tmp_path / "new", path)

    with FakeServer(transport, by_label) as server, make(server.target, traffic=TrafficFile(path)) as client:
        asked = lambda: client.recommend("ann").item_ids[0]  # noqa: E731
        assert asked() == "old"  # no file, no canary
        write(json.dumps({"label": "canary", "share": 1, "salt": "x", "more": [1]}))
        assert asked() == "new"
        for broken in ("", "{", "[]", "null", '{"label": "canary"}', '{"label": "canary", "share": 2}', "[" * 100_000):
            write(broken)
            assert asked() == "new"
        path.write_bytes(b"\xff")
        assert asked() == "new"
        write(json.dumps({"label": "canary", "share": 0.0}))
        assert asked() == "old"
        write(json.dumps({"label": "canary", "share": 1.0}))
        assert asked() == "new"
        path.unlink()
        assert asked() == "old"


def test_a_broken_file_to_begin_with(tmp_path):
    path = tmp_path / "traffic.json"
    path.write_text('{"share": 0.5}')
    with pytest.raises(InvalidRequest, match=r"traffic\.json: it is no JSON such as"):
        TrafficFile(path)
    path.write_text('{"label": "c", "share": 5}')
    with pytest.raises(InvalidRequest, match=r"share=5 must be a number"):
        TrafficFile(path)


def test_the_file_is_looked_at_once_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("serving.client.files.time.monotonic", lambda: now[0])
    path = tmp_path / "traffic.json"
    path.write_text('{"label": "a", "share": 0.5}')
    traffic = TrafficFile(path)
    path.write_text('{"label": "another", "share": 0.5}')
    now[0] += 0.9
    assert traffic.current() == Traffic("a", 0.5)
    now[0] += 0.2
    assert traffic.current() == Traffic("another", 0.5)


# A server that batches


def features(serialized: bytes) -> dict[str, list]:
    """Those of a tf.Example that have a value."""
    found = serving_pb2.Example.FromString(serialized).features.feature
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in found.items()
        if feature.WhichOneof("kind")
    }


def test_batching_asks_by_examples(make, transport):
    with (
        FakeServer(transport, lambda number, seen: Reply(("1", "2", "3", "4"))) as server,
        make(server.target, batching=True) as client,
    ):
        context = {"device": "ios", "age": 30, "k": "not this", "history": 5.0}
        queries = [Query("ann", ["x", "ä"], ["y"], context), Query()]
        answers = client.recommend_batch(queries, k=2)
        assert [answer.item_ids for answer in answers] == [["1", "2"], ["1", "2"]]  # cut to its own k
    (seen,) = server.seen
    assert seen.signature == "recommend_examples"
    assert features(seen.examples[0]) == {
        "user_id": [b"ann"],
        "history": [b"x", "ä".encode()],
        "exclude": [b"y"],
        "k": [2],
        "device": [b"ios"],
        "age": [30.0],
    }
    assert features(seen.examples[1]) == {"k": [2]}


def test_a_k_above_the_limit_of_a_server_that_batches(make, transport):
    with FakeServer(transport, lambda number, seen: Reply(("", ""), source="")) as server:
        with (
            make(server.target, batching=True, fallback=["1"]) as client,
            pytest.raises(InvalidRequest, match="k=99 is above the model's limit"),
        ):
            client.recommend("ann", k=99)
        assert len(server.seen) == 1


def test_a_server_that_does_not_batch(make, transport):
    detail = 'Serving signature name: "recommend_examples" not found in signature def'
    with (
        FakeServer(transport, lambda number, seen: Fail("INVALID_ARGUMENT", detail)) as server,
        make(server.target, batching=True) as client,
        pytest.raises(InvalidRequest, match="make the client without batching"),
    ):
        client.recommend("ann")
