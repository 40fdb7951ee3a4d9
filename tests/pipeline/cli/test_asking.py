"""`recommender query`, `similar` and `audience`: what they ask for, and how they tell what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.cli.asking import _because, _check_context, _Endpoint, _endpoint
from pipeline.cli.options import ConfigSource, ServerOptions
from pipeline.config import Config
from serving import contract
from serving.server.ports import free_port
from serving.server.process import EMBEDDED, ServerProcess, environment
from tests.pipeline.cli.command import recommender, rows
from tests.serving.fake_replica import publish
from tests.serving.fixtures import MODEL
from tests.serving.wire import contract as wire


def config(base_path: Path) -> Config:
    return Config.model_validate(
        {
            "name": "shop",
            "data": {"interactions": {"path": "log.csv", "features": {"device": {"type": "category"}}}},
            "model": {"query_features": ["device"], "time_features": ["hour"]},
            "serving": {"base_path": base_path},
        }
    )


def endpoint(base_path: Path | None, version: int | None = None) -> _Endpoint:
    known = config(base_path) if base_path else None
    return _Endpoint(["localhost:8500"], "shop", version, None, "grpc", 10, known)


@pytest.mark.parametrize(("transport", "target"), [("grpc", "[::1]:8500"), ("rest", "[::1]:8501")])
def test_a_server_that_listens_at_an_address_of_ipv6_is_asked_there(
    tmp_path: Path, transport: str, target: str
) -> None:
    (tmp_path / "shop.yaml").write_text("name: shop\ndata: {interactions: {path: log.csv}}\nserving: {host: '::1'}\n")
    found = _endpoint(ConfigSource(tmp_path / "shop.yaml"), ServerOptions(transport=transport))
    assert (found.targets, found.name) == ([target], "shop")


@pytest.mark.parametrize(("transport", "key"), [("grpc", "port"), ("rest", "rest_port")])
def test_a_server_at_any_free_port_must_be_named(tmp_path: Path, transport: str, key: str) -> None:
    (tmp_path / "shop.yaml").write_text(
        f"name: shop\ndata: {{interactions: {{path: log.csv}}}}\nserving: {{{key}: 0}}\n"
    )
    source = ConfigSource(tmp_path / "shop.yaml")
    with pytest.raises(InputError, match=rf"^serving\.{key} is 0, any free one: name the server by --target$"):
        _endpoint(source, ServerOptions(transport=transport))
    assert _endpoint(source, ServerOptions(transport=transport, targets=["dns:///a:1"])).targets == ["a:1"]


def test_a_feature_that_the_config_lacks_is_refused_with_what_there_is(tmp_path: Path) -> None:
    _check_context({"device": "ios", "timestamp": 7}, endpoint(tmp_path))
    with pytest.raises(InputError, match=r"^--context devise: the model takes no .* \(it takes: device, timestamp\)$"):
        _check_context({"device": "ios", "devise": "ios"}, endpoint(tmp_path))


def test_the_version_on_this_machine_knows_better_than_the_config(tmp_path: Path) -> None:
    for version, names in ((1, ["age"]), (2, [])):
        publish(tmp_path, "shop", version)
        manifest = tmp_path / "shop" / str(version) / contract.MANIFEST
        manifest.parent.mkdir()
        manifest.write_text(json.dumps({"context": [{"name": name, "type": "number"} for name in names]}))
    _check_context({"age": 3}, endpoint(tmp_path, version=1))
    with pytest.raises(InputError, match=r"--context device: .* \(it takes: age\)"):
        _check_context({"device": "ios"}, endpoint(tmp_path, version=1))
    with pytest.raises(InputError, match=r"--context age: .* \(it takes: none\)"):
        _check_context({"age": 3}, endpoint(tmp_path))
    _check_context({"device": "ios"}, endpoint(tmp_path, version=9))  # which is elsewhere


def test_without_a_config_it_is_told_that_nothing_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    _check_context({}, endpoint(None))
    assert capsys.readouterr().err == ""
    _check_context({"devise": "ios"}, endpoint(None))
    assert "whether the model takes these features can't be told without its config" in capsys.readouterr().err


# --- With a server --------------------------------------------------------------------------------------------------


def ask(server, command: str, *arguments: str, transport: str = "grpc", cwd=None) -> subprocess.CompletedProcess[str]:
    target = server.grpc_target if transport == "grpc" else server.rest_target
    options = ("--target", target, "--transport", transport, "--name", MODEL)
    return recommender(command, *arguments, *options, cwd=cwd)


@pytest.mark.slow
def test_query_known_user_needs_no_config(server, transport, tmp_path):
    ended = ask(server, "query", "--user", "ann", "-k", "2", transport=transport, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert rows(ended.stdout) == [
        ["1", "3", "v1: title of 3", "998.0000"],
        ["2", "4", "v1: title of 4", "997.0000"],
    ]
    assert "tiny version 7" in ended.stdout
    assert "source: user (ann is known)" in ended.stdout


@pytest.mark.slow
def test_answers_as_json(server, transport):
    asked = ask(server, "query", "--user", "ann", "-k", "1", "--json", transport=transport)
    assert (asked.returncode, asked.stderr) == (0, "")
    item = {"rank": 1, "id": "3", "title": "v1: title of 3", "score": 998.0}
    assert json.loads(asked.stdout) == {"source": "user", "name": MODEL, "version": 7, "items": [item]}
    asked = ask(server, "similar", "--item", "2", "-k", "1", "--json", transport=transport)
    found = json.loads(asked.stdout)
    assert found["item"] == {"id": "2", "title": "v1: title of 2"}
    assert [item["id"] for item in found["items"]] == ["1"]


@pytest.mark.slow
def test_what_carries_each_recommendation(server, transport):
    ended = ask(server, "query", "--user", "ann", "-k", "2", "--explain", transport=transport)
    assert (ended.returncode, ended.stderr) == (0, "")
    # ann's newest is 1: what is near to it is less than the bias by the distance, so nothing of the history adds.
    assert [row[-1] for row in rows(ended.stdout)] == ["bias +1000.000"] * 2
    assert "because of (attribution)" in ended.stdout
    ended = ask(server, "query", "--explain", "-k", "1", "--json", transport=transport)
    [item] = json.loads(ended.stdout)["items"]
    assert item["because"] == []
    assert item["parts"] == {"bias": 1000.0, "popularity": 20.0, "feature:age": 0.0}
    assert item["method"] == "exact"


def test_what_carries_an_item_in_words() -> None:
    carriers = [{"id": "50", "title": "Star [red]\n", "adds": 0.5}, {"id": "7", "title": "", "adds": 0.25}]
    item = {"because": carriers, "parts": {"bias": 9.0}}
    assert _because(item) == "Star \\[red]· +0.500, 7 +0.250"
    assert _because({"because": [], "parts": {"bias": -1.0, "empty_history": 2.0}}) == "empty history +2.000"


@pytest.mark.slow
def test_a_version_by_its_number_and_several_targets(server):
    target = ("--target", f"dns:///{server.grpc_target}")
    assert "tiny version 7" in ask(server, "query", "--user", "ann", "--version", "7", *target).stdout
    ended = ask(server, "query", "--user", "ann", "--version", "8")
    assert ended.returncode == 1
    assert "isn't served at" in ended.stderr


@pytest.mark.slow
def test_query_with_history_and_exclusions(server):
    ended = ask(server, "query", "--history", '"a,b", 10', "--history", "🎬", "--exclude", '9,"say ""hi"""', "-k", "2")
    assert ended.returncode == 0, ended.stderr
    # a,b is at place 10: 9 is in the history, 11 excluded; then 8 (excluded), 12 and 7, 13.
    assert [row[1] for row in rows(ended.stdout)] == ["two words", "8"]
    assert "source: history" in ended.stdout


@pytest.mark.slow
def test_query_unknown_user_says_so(server):
    ended = ask(server, "query", "--user", "who?", "-k", "1")
    assert ended.returncode == 0
    assert rows(ended.stdout)[0][1] == "1"
    assert "user who? is unknown to the model; these are the popular items" in ended.stdout


@pytest.mark.slow
def test_query_with_context(server, transport):
    context = ("--context", "device=w", "--context", "age=30", "--context", "timestamp=1970-01-01T00:00:07")
    ended = ask(server, "query", *context, "-k", "1", transport=transport)
    assert ended.returncode == 0, ended.stderr
    # Item w has popularity 1 of 20, and gets 5000 for the device, 30 for the age and 7 for the time.
    assert [row[1::2] for row in rows(ended.stdout)] == [["w", "6038.0000"]]


@pytest.mark.slow
def test_query_with_everything_excluded(server):
    every = '1,2,3,4,5,6,7,8,9,10,"a,b","say ""hi""",two words,🎬,ä,x,y,z,v,w'
    ended = ask(server, "query", "--exclude", every)
    assert ended.returncode == 0
    assert ended.stdout.strip() == "nothing is left to recommend: every item was seen or is excluded"


@pytest.mark.slow
def test_similar(server, transport):
    ended = ask(server, "similar", "--item", "2", "-k", "2", "--exclude", "1", transport=transport)
    assert ended.returncode == 0, ended.stderr
    assert [row[1] for row in rows(ended.stdout)] == ["3", "4"]
    assert "similar to 2 v1: title of 2" in ended.stdout


@pytest.fixture(scope="module")
def of_users(contract_servable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a model that was made with `serving.audience`."""
    base = tmp_path_factory.mktemp("of_users")
    shutil.copytree(contract_servable, base / MODEL / "7")
    with ServerProcess(base, MODEL, binary=EMBEDDED) as process:
        yield process


@pytest.mark.slow
def test_audience(of_users, transport):
    world = wire.world()
    item = world.stored["ann"][0]
    users, scores = world.audience(item, ["ünal"], without_owners=True)
    ended = ask(of_users, "audience", "--item", item, "--exclude", "ünal", "-k", "9", transport=transport)
    assert ended.returncode == 0, ended.stderr
    expected = [[str(rank), user, f"{score:.4f}"] for rank, (user, score) in enumerate(zip(users, scores), 1)]
    assert rows(ended.stdout) == expected
    assert f"audience of {item} Title of {item}; a score is the log of" in ended.stdout

    rules = ("--owners", "--filter", "city=a=b", "--filter", "age<=17", "--allow", "ann,🙂", "--json")
    ended = ask(of_users, "audience", "--item", item, *rules, transport=transport)
    found = json.loads(ended.stdout)
    assert found["item"] == {"id": item, "title": f"Title of {item}"}
    assert (found["name"], found["version"]) == (MODEL, 7)
    assert [(user["rank"], user["id"]) for user in found["users"]] == [(1, "ann")]
    ended = ask(of_users, "audience", "--item", item, "--filter", "age>=99", transport=transport)
    assert ended.stdout.strip() == "nobody is left: every user had it, is excluded or ruled out"


@pytest.mark.slow
def test_similar_users(of_users, transport):
    users, scores = wire.world().similar_users("ann", ["ünal"])
    asked = ("--user", "ann", "--exclude", "ünal", "-k", "2")
    ended = ask(of_users, "similar", *asked, transport=transport)
    assert ended.returncode == 0, ended.stderr
    expected = [[str(rank), user, f"{score:.4f}"] for rank, (user, score) in enumerate(zip(users, scores), 1)]
    assert rows(ended.stdout) == expected[:2]
    assert "similar to user ann" in ended.stdout
    found = json.loads(ask(of_users, "similar", *asked, "--json", transport=transport).stdout)
    assert (found["user"], [user["id"] for user in found["users"]]) == ("ann", users[:2])


@pytest.mark.slow
def test_query_with_weights_of_tasks(of_users, transport):
    best, scores, _ = wire.world().recommend("ann", [], [], view=0.25)
    weights = ("--task", "view=1", "--task", "purchase=3")
    ended = ask(of_users, "query", "--user", "ann", *weights, "-k", "2", "--explain", "--json", transport=transport)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)["items"]
    assert [item["id"] for item in found] == best[:2]
    for item, score in zip(found, scores):
        assert item["score"] == pytest.approx(score, rel=1e-4)
        assert item["method"] == "exact"


@pytest.mark.slow
def test_query_for_what_the_user_had(of_users, transport):
    best, _, _ = wire.world().recommend("ann", [], [], leave_out="nothing")
    ended = ask(of_users, "query", "--user", "ann", "-k", "3", "--leave-out", "nothing", "--json", transport=transport)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [item["id"] for item in json.loads(ended.stdout)["items"]] == best[:3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("query", "--leave-out", "bought"), "leave_out='bought': it is 'all', 'nothing'"),
        (("query", "--task", "buy=1"), "tasks are purchase, view; not"),
        (("query", "--task", "view=-1"), "weights are 0 or more"),
        (("audience", "--item", "nothing"), "item 'nothing': the model 'tiny' doesn't know it"),
        (("audience", "--item", "item 1", "--filter", "price<=3"), "features of users in model.query_features"),
        (("similar", "--user", "nobody"), "user 'nobody': the model 'tiny' doesn't know them"),
        (("similar", "--user", "ann", "--diversity", "0.5"), "--user: similar users take no rules but --exclude"),
    ],
)
def test_wrong_questions_about_users_exit_with_2(of_users, arguments, text):
    ended = ask(of_users, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("similar", "--item", "nothing"), "item 'nothing': the model 'tiny' doesn't know it"),
        (("similar",), "Give either --item ID or --user ID"),
        (("similar", "--item", "2", "--user", "ann"), "Give either --item ID or --user ID"),
        (("similar", "--user", "ann"), "it says nothing of users: make a version with serving.audience: true"),
        (("audience", "--item", "2"), "it says nothing of users: make a version with serving.audience: true"),
        (("query", "-k", "0"), "k=0"),
        (("query", "--task", "view=1"), "so it has no tasks: ask without weights of them"),
        (("query", "--task", "view"), "expected name=number"),
        (("query", "-k", "31"), "refused the request"),
        (("query", "--history", '"open'), "--history: "),
        (("query", "--transport", "soap"), "--transport soap: it is grpc or rest"),
        (("query", "--target", "no port"), "write it as host:port"),
        (("query", "--context", "device=NO"), "device=False is a bool"),
        (("query", "--context", "device=5"), "refused the request"),
    ],
)
@pytest.mark.slow
def test_wrong_input_exits_with_2(server, arguments, text):
    defaults = ("--target", server.grpc_target, "--name", MODEL)
    ended = recommender(arguments[0], *defaults, *arguments[1:])
    assert ended.returncode == 2
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_no_server_exits_with_1():
    target = f"127.0.0.1:{free_port()}"
    for transport in ("grpc", "rest"):
        ended = recommender("query", "--target", target, "--name", MODEL, "--transport", transport)
        assert ended.returncode == 1
        assert (
            ended.stderr.strip()
            == f"error: no model server at {target}: start one with `recommender serve`, or wait until it says `ready`"
        )


@pytest.mark.slow
def test_unknown_model_exits_with_1(server):
    ended = recommender("query", "--target", server.grpc_target, "--name", "nope")
    assert ended.returncode == 1
    assert "model 'nope' isn't served" in ended.stderr


@pytest.mark.slow
def test_query_imports_neither_tensorflow_nor_the_config():
    program = (
        "import sys; sys.argv = ['recommender', 'query', '--target', '127.0.0.1:1', '--name', 'm']\n"
        "from pipeline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'tfx', 'numpy', 'apache_beam', 'pipeline.config'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
