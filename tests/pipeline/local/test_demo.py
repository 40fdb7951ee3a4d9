"""`recommender demo`: the conversation with the server, which is made up here, and that it is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.local import demo as module
from pipeline.local.demo import demo
from pipeline.terminal import Outcome
from serving.client.errors import RecommenderError
from serving.client.results import ItemDescription, Recommendation, RecommendationList

LISTS = {
    "known": RecommendationList((Recommendation("i1", 0.75), Recommendation("i2", 0.5)), "user"),
    "history": RecommendationList((Recommendation("i3", 0.25),), "history"),
    "nobody": RecommendationList((Recommendation("i9", 12.0),), "popular"),
}


class Server:
    """A server and its clients; `said` is what came to pass."""

    grpc_target, rest_target = "127.0.0.1:1", "127.0.0.1:2"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.fails = False

    def __call__(self, base_path: Path, name: str, log_path: Path) -> Server:
        self.said.append(f"serve {base_path.name}/{name}, log in {log_path.name}")
        return self

    def start(self) -> None:
        self.said.append("start")

    def stop(self) -> None:
        self.said.append("stop")

    def client(self, target: str, model: str, transport: str = "grpc") -> Client:
        assert (target, model) == (self.rest_target if transport == "rest" else self.grpc_target, "shop")
        return Client(self, transport)


class Client:
    def __init__(self, server: Server, transport: str) -> None:
        self.server, self.transport = server, transport

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def recommend(self, user_id: str = "", history: list[str] | None = None, k: int = 0) -> RecommendationList:
        self.server.said.append(f"{self.transport}: {user_id or history or 'nobody'}, {k}")
        if self.server.fails:
            raise RecommenderError("the server is gone")
        return LISTS["known" if user_id else "history" if history else "nobody"]

    def describe(self, items: list[str]) -> list[ItemDescription]:
        return [ItemDescription(item, f"[Title] of {item}", True) for item in items]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Server:
    made_up = Server()
    monkeypatch.setattr(module, "ServerProcess", made_up)
    monkeypatch.setattr(module, "RecommenderClient", made_up.client)
    return made_up


@pytest.fixture
def config(tmp_path: Path) -> Config:
    version = tmp_path / "models" / "shop" / "7"
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "assets" / "users.txt").write_text("ann [1]\nbob\n", encoding="utf-8")
    return Config.model_validate(
        {
            "name": "shop",
            "output": str(tmp_path / "output"),
            "serving": {"base_path": str(tmp_path / "models")},
            "data": {"interactions": {"path": "log.csv"}},
        }
    )


def after_run(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    monkeypatch.setattr(module, "run", lambda config: outcome)


def test_somebody_known_somebody_new_and_nobody_are_asked_for(
    made_up: Server, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_run(monkeypatch, Outcome(0, {"name": "shop"}))
    outcome = demo(config, None)
    assert made_up.said == [
        "serve models/shop, log in server.log",
        "start",
        "grpc: ann [1], 5",
        "rest: ann [1], 5",
        "rest: ['i1'], 5",
        "grpc: nobody, 5",
        "stop",
    ]
    assert outcome.exit_code == 0
    assert outcome.facts["name"] == "shop"
    assert [(answer["for"], answer["source"]) for answer in outcome.facts["answers"]] == [
        ("user ann [1] (over gRPC)", "user"),
        ("somebody new who just had item i1 (over REST)", "history"),
        ("somebody of whom nothing is known", "popular"),
    ]
    assert outcome.facts["answers"][0]["items"] == [
        {"id": "i1", "title": "[Title] of i1", "score": 0.75},
        {"id": "i2", "title": "[Title] of i2", "score": 0.5},
    ]
    said = capsys.readouterr().out
    assert "shop version 7 serves gRPC on 127.0.0.1:1 and REST on 127.0.0.1:2" in said
    assert "over REST: the same list" in said
    assert "[Title] of i3" in said
    assert "recommender query --user 'ann [1]'" in said


def test_who_is_named_is_asked_for(made_up: Server, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    after_run(monkeypatch, Outcome(0, {}))
    demo(config, "bob")
    assert "grpc: bob, 5" in made_up.said


@pytest.mark.parametrize("code", [1, 2, 3])
def test_nothing_is_served_after_a_run_that_failed(
    made_up: Server, config: Config, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    after_run(monkeypatch, Outcome(code))
    assert demo(config, None) == Outcome(code)
    assert made_up.said == []


def test_the_server_is_stopped_whatever_happens(
    made_up: Server, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_run(monkeypatch, Outcome(0, {}))
    made_up.fails = True
    with pytest.raises(RecommenderError, match="the server is gone"):
        demo(config, None)
    assert made_up.said[-1] == "stop"
