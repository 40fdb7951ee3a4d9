"""What was pushed, served by `recommender serve` and asked by `recommender query` and `similar`, and by the client."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.evaluation_report import CANDIDATE, COUNT, OVERALL, load_report
from tests.e2e.conftest import Small
from tests.e2e.world import NAME, NASTY, Ended, World, end_group, recommender, start, versions

pytestmark = pytest.mark.slow

HARD = ("a,b", 'say "hi"', "🎬", "123456789012345678901234567890123456789", "[bold]x[/]", " leading", "-k")


@dataclass(frozen=True)
class Server:
    """`recommender serve`, ready."""

    process: subprocess.Popen[str]
    said: str
    ports: dict[str, int]
    folder: Path

    def target(self, transport: str) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.ports[transport]}"

    def ask(self, *arguments: str, transport: str = "grpc") -> Ended:
        """Asks it on the command line, with what the config says."""
        options = ("--config", "config.yaml", "--target", self.target(transport), "--transport", transport)
        return recommender(self.folder, *arguments, *options)


def serve(folder: Path) -> Server:
    """Starts `recommender serve` on free ports and waits until it is ready."""
    process = start(folder, "serve", "--config", "config.yaml", "--port", "0", "--rest-port", "0")
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        found = re.match(r"ready .* port=(\d+) rest_api_port=(\d+)", line)
        if found:
            # Goes on reading, so that the server never waits for us.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return Server(process, "".join(said), {"grpc": int(found[1]), "rest": int(found[2])}, folder)
    raise AssertionError(f"the server ended: {''.join(said)}")


@pytest.fixture(scope="module")
def server(first_run: Small) -> Iterator[Server]:
    """Serves the first run's version."""
    server = serve(first_run.folder)
    yield server
    end_group(server.process)


@pytest.fixture(params=["grpc", "rest"])
def transport(request: pytest.FixtureRequest) -> str:
    """Both in turn."""
    return str(request.param)


def items(ended: Ended) -> list[dict[str, Any]]:
    """The items of an answer with `--json`."""
    return json.loads(ended.stdout)["items"]


def quoted(*ids: str) -> str:
    """Ids as one option's value."""
    return ",".join('"' + name.replace('"', '""') + '"' for name in ids)


def test_serve_says_what_and_where(server: Server, first_run: Small) -> None:
    [version] = versions(first_run.folder)
    assert f"serving {NAME} version {version.name}" in server.said
    assert f"version={version.name} " in server.said
    assert "recommender query" in server.said
    assert "Traceback" not in server.said


@pytest.mark.smoke
def test_query_by_user(server: Server, world: World, transport: str) -> None:
    ended = server.ask("query", "--user", 'usay "hi"', "-k", "3", "--json", transport=transport)
    assert ended.code == 0, ended.text
    found = items(ended)
    assert [item["rank"] for item in found] == [1, 2, 3]
    seen = {event.item for event in world.events if event.user == 'usay "hi"'}
    assert not seen & {item["id"] for item in found}
    assert all(item["title"] == item["id"] or item["title"].startswith("Title of ") for item in found)
    told = server.ask("query", "--user", 'usay "hi"', "-k", "3", transport=transport)
    *shown, explained = told.stdout.splitlines()
    assert explained == 'source: user (usay "hi" is known)'
    assert [line.split()[0] for line in shown[1:]] == ["rank", "1", "2", "3"]
    assert [line.split()[-1] for line in shown[2:]] == [f"{item['score']:.4f}" for item in found]


def test_query_by_history_of_hard_ids(server: Server, transport: str) -> None:
    ended = server.ask("query", "--history", quoted(*HARD), "-k", "62", "--json", transport=transport)
    assert ended.code == 0, ended.text
    found = items(ended)
    assert json.loads(ended.stdout)["source"] == "history"
    assert len(found) == 62 - len(HARD)
    assert not set(HARD) & {item["id"] for item in found}


@pytest.mark.parametrize("item", HARD)
def test_similar_to_hard_ids(server: Server, item: str) -> None:
    ended = server.ask("similar", "--item", item, "-k", "2", "--json")
    assert ended.code == 0, ended.text
    assert len(items(ended)) == 2
    assert json.loads(ended.stdout)["item"]["id"] == item


def test_unknown_user_gets_the_popular_items(server: Server, transport: str) -> None:
    ended = server.ask("query", "--user", "nobody, really", "-k", "2", transport=transport)
    assert ended.code == 0, ended.text
    assert len(ended.stdout.splitlines()) == 5, "title, head, two items and why"
    assert "nobody, really is unknown to the model; these are the popular items" in ended.stdout


def test_unknown_item(server: Server, transport: str) -> None:
    ended = server.ask("similar", "--item", "no such item", transport=transport)
    assert ended.code == 2
    assert "'no such item'" in ended.stderr
    assert f"the model '{NAME}' doesn't know it" in ended.stderr
    history = server.ask("query", "--history", "no such item", "-k", "1", transport=transport)
    assert history.code == 0
    assert "none of the history's items is known; these are the popular items" in history.stdout


def test_k_of_0_is_refused(server: Server, transport: str) -> None:
    for arguments in (("query", "--user", "user 1"), ("similar", "--item", "a,b")):
        ended = server.ask(*arguments, "-k", "0", transport=transport)
        assert ended.code == 2, ended.text
        assert re.search(r"\bk\b.*at least 1", ended.stderr), ended.stderr
        assert "Traceback" not in ended.text


def test_k_beyond_the_catalogue_gives_what_there_is(server: Server, transport: str) -> None:
    ended = server.ask("query", "--user", "nobody", "-k", "500", "--json", transport=transport)
    assert ended.code == 0, ended.text
    assert [item["rank"] for item in items(ended)] == list(range(1, 63))
    too_many = server.ask("query", "--user", "nobody", "-k", "1001", transport=transport)
    assert too_many.code == 2
    assert re.fullmatch(r"error: \S+ refused the request: k must be at most 1000\n", too_many.stderr), too_many.stderr


def test_a_wrong_filter_is_one_line(server: Server, transport: str) -> None:
    ended = server.ask("query", "--user", "user 1", "--filter", "colour=red", transport=transport)
    assert ended.code == 2
    assert re.fullmatch(
        r"error: \S+ refused the request: filter is NAME=VALUE with NAME one of: none; or NAME=NUMBER, NAME<=NUMBER or"
        r" NAME>=NUMBER with one of: none \(serving.filters in the config\); not colour=red\n",
        ended.stderr,
    ), ended.stderr


def test_an_unknown_feature_of_a_context_is_refused_with_what_there_is(server: Server) -> None:
    ended = server.ask("query", "--user", "user 1", "--context", "device=ios")
    assert ended.code == 2
    assert ended.stderr == "error: --context device: the model takes no such feature (it takes: none)\n"


def test_everything_excluded(server: Server, world: World, transport: str) -> None:
    every = [*world.items, *world.never_seen]
    ended = server.ask("query", "--user", "user 1", "--exclude", quoted(*every), transport=transport)
    assert ended.code == 0, ended.text
    assert "nothing is left to recommend: every item was seen or is excluded" in ended.stdout
    ended = server.ask("similar", "--item", "a,b", "--exclude", quoted(*every), transport=transport)
    assert ended.code == 0, ended.text
    assert "nothing is left" in ended.stdout


def test_no_server_says_how_to_start_one(first_run: Small) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{free.getsockname()[1]}"
    ended = recommender(first_run.folder, "query", "--config", "config.yaml", "--user", "u", "--target", target)
    assert ended.code == 1
    assert (
        f"no model server at {target}: start one with `recommender serve`, or wait until it says `ready`"
        in ended.stderr
    )


@pytest.mark.parametrize("option", ["--port", "--rest-port"])
def test_port_in_use_is_told_at_once(first_run: Small, option: str) -> None:
    other = {"--port": "--rest-port", "--rest-port": "--port"}[option]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = recommender(first_run.folder, "serve", "--config", "config.yaml", option, port, other, "0")
    assert ended.code == 2
    assert f"port {port}" in ended.stderr
    assert "in use" in ended.stderr
    assert "Traceback" not in ended.text


@pytest.mark.smoke
def test_both_transports_know_every_item_and_no_item_twice(server: Server, world: World, transport: str) -> None:
    from serving.client import RecommenderClient

    every = [*world.items, *world.never_seen]
    with RecommenderClient(server.target(transport), model=NAME, transport=transport) as client:
        described = client.describe(every)
        assert [(one.item_id, one.known) for one in described] == [(item, True) for item in every]
        for item in NASTY:
            answer = client.similar_items(item, k=62)
            assert answer.known, item
            assert sorted(answer.item_ids) == sorted(set(every) - {item})
        for user in world.users[::10]:
            ids = client.recommend(user, k=62).item_ids
            assert len(ids) == len(set(ids))
        assert client.describe(["no such item"])[0].known is False


@pytest.mark.smoke
def test_served_metrics_are_the_evaluators(first_run: Small) -> None:
    """Of the model that was judged; what is shipped has seen the queries."""
    from benchmarks.served_metrics import TOLERANCE, served_alone, served_metrics, served_ranks
    from components.evaluator.servable import context_features
    from serving.client import RecommenderClient
    from serving.server.process import ServerProcess

    report = load_report(first_run.artifact("Evaluator", "evaluation").uri)
    interactions = first_run.artifact("InteractionGen", "examples").uri
    judged = str(first_run.judged)
    with (
        served_alone(judged, NAME) as base,
        ServerProcess(base, NAME) as server,
        RecommenderClient(server.grpc_target, model=NAME, timeout=60) as client,
    ):
        ranks = served_ranks(client, interactions, report, context_features(judged))
    evaluated = report.metrics[CANDIDATE][OVERALL]
    assert len(ranks) == evaluated[COUNT] == 592
    served = served_metrics(ranks, report)
    assert set(served) == {
        *(f"hit_rate@{k}" for k in (1, 5, 10, 50, 100)),
        "recall@10",
        "precision@10",
        "map@10",
        "ndcg@10",
        "mrr",
    }
    for name, value in served.items():
        assert value == pytest.approx(evaluated[name], abs=TOLERANCE), name


def test_sigterm_ends_it_with_0(first_run: Small) -> None:
    server = serve(first_run.folder)
    try:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        end_group(server.process)
