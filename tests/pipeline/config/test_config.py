"""The config file: what is accepted, and what a mistake is answered with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import Config, load_config
from pipeline.config.config import ServingConfig, find_notify
from serving.client.calls import parse_target
from serving.stores import AnyPath, ObjectPath

ROOT = Path(__file__).parents[3]
MINIMAL = "name: shop\ndata:\n  interactions: {path: log.csv}\n"
TASKS = (
    "name: shop\ndata:\n  interactions: {{{}}}\n"
    "model: {{tasks: {{purchase: {{events: [buy], weight: 2}}, view: {{events: [see]}}}}}}\n"
)


EXCLUDED = (
    "name: a\ndata:\n  interactions: {{path: log.csv, columns: {{event: type}}, event_weights: {}}}\n"
    "serving: {{exclude: [buy]}}\n"
)


def config_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_name_and_a_log_are_enough(tmp_path: Path) -> None:
    config = load_config(config_file(tmp_path, MINIMAL))
    assert (config.name, config.data.interactions.path, config.seed) == ("shop", "log.csv", 42)
    assert config.data.interactions.settings().split.method == "time"
    assert config.data.catalogue.path == ""


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_a_base_path_is_on_disk_or_in_a_store(tmp_path: Path) -> None:
    def base_path(text: str) -> AnyPath:
        config = load_config(config_file(tmp_path, f"{MINIMAL}serving: {{base_path: {text}}}\n"))
        assert json.loads(config.model_dump_json())["serving"]["base_path"] == str(config.serving.base_path)
        assert ServingConfig.model_validate(config.serving.model_dump()) == config.serving
        return config.serving.base_path

    assert base_path("models") == Path("models")
    assert base_path("s3://shop/models/") == ObjectPath("s3://shop/models")
    assert base_path("gs://shop") == ObjectPath("gs://shop")
    for wrong, message in (
        ("hdfs://shop/models", "must be a local or mounted directory, or one in s3:// or gs://"),
        ("'s3:///models'", "must name its bucket"),
        ("s3:/shop/models", "a store is written with two slashes, as s3://bucket/models"),
        ("7", "must be a path"),
    ):
        with pytest.raises(InputError, match=f"serving.base_path: .*{message}"):
            base_path(wrong)


def test_an_output_in_a_store_is_worked_on_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(output: str, more: str = "") -> Config:
        return load_config(config_file(tmp_path, f"{MINIMAL}output: {output}\n{more}"))

    monkeypatch.chdir(tmp_path)
    here = config("output")
    assert here.place() == here.folder() == tmp_path / "output" / "shop"
    assert here.suppression() == tmp_path / "output" / "shop" / "suppression.json"
    there = config("s3://bucket/runs/")
    assert there.place() == ObjectPath("s3://bucket/runs/shop")
    assert there.suppression() == ObjectPath("s3://bucket/runs/shop/suppression.json")
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("RECOMMENDER_WORK", raising=False)
    assert re.fullmatch(r"/home/ann/\.cache/recommender/work/s3-bucket-runs-[0-9a-f]{8}/shop", str(there.folder()))
    monkeypatch.setenv("RECOMMENDER_WORK", "work")
    assert there.folder().parent.parent == tmp_path / "work"
    assert there.folder() == config("s3://bucket/runs").folder()
    assert there.folder() != config("s3://bucket-runs").folder()
    assert config("s3://b/r", "privacy: {suppression: gs://b/list.json}\n").suppression() == ObjectPath(
        "gs://b/list.json"
    )
    with pytest.raises(InputError, match=r"output: s3://b/r keeps the metadata beside the artifacts"):
        config("s3://b/r", "metadata: {backend: mysql, host: h, database: d, user: u}\n")


def test_tasks_go_with_a_log_that_has_their_events(tmp_path: Path) -> None:
    for weights in ("", ", event_weights: {buy: 5, see: 1}"):
        text = TASKS.format(f"path: log.csv, columns: {{event: type}}{weights}")
        assert load_config(config_file(tmp_path, text)).model.tasks["purchase"].weight == 2


def test_limits_of_drift_are_of_features_that_are_compared(tmp_path: Path) -> None:
    text = f"{MINIMAL}  catalogue: {{path: items.csv, features: {{price: {{type: number}}, title: {{type: text}}}}}}\n"
    assert load_config(config_file(tmp_path, f"{text}guards: {{drift: {{catalogue.price: null}}}}\n")).guards.drift
    with pytest.raises(InputError, match=r"'catalogue\.title' is no .* \(there are: weight, catalogue\.price\)"):
        load_config(config_file(tmp_path, f"{text}guards: {{drift: {{catalogue.title: 0.5}}}}\n"))


def test_overrides_are_yaml_and_make_missing_sections(tmp_path: Path) -> None:
    path = config_file(tmp_path, MINIMAL)
    config = load_config(path, ("model.dim=16", "evaluation.ks=[1, 3]", "evaluation.thresholds={}", "seed=7"))
    assert (config.model.dim, config.evaluation.ks, config.seed) == (16, (1, 3), 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "modle: {dim: 3}\n", ["modle: unknown key", "did you mean 'model'"]),
        (MINIMAL + "model: {dimension: 3}\n", ["model.dimension: unknown key", "dim"]),
        (MINIMAL + "training: {zzz: 3}\n", ["training.zzz: unknown key; known keys:", "batch_size"]),
        (
            MINIMAL + "  catalogue: {path: c.csv, features: {price: {type: number, unit: $}}}\n",
            ["data.catalogue.features.price.unit: unknown key; known keys: column, dim,"],
        ),
        (
            MINIMAL + "  catalogue: {path: c.csv, features: {price: {type: number, encodr: x}}}\n",
            ["data.catalogue.features.price.encodr: unknown key; did you mean 'encoder'"],
        ),
        (MINIMAL + "model: {dim: many}\n", ["model.dim", "integer", "'many'"]),
        (MINIMAL + "model: {dim: 0}\n", ["model.dim", "greater than or equal to 1", "got 0"]),
        *(
            (f"name: shop\ndata: {{interactions: {{path: log.csv, {some}}}}}\n", [f"{key}: needs {message}"])
            for some, key, message in (
                (
                    "columns: {event: e}, event_weights: {no: 1}",
                    "event_weights",
                    "text, and YAML takes it for true or false (False): put it in quotes",
                ),
                (
                    "columns: {event: e}, event_weights: {0: 1}",
                    "event_weights",
                    "text, and YAML takes it for a number",
                ),
                ("missing: [-1]", "missing.0", "text, and YAML takes it for a number (-1): put it in quotes"),
                ("missing: NA", "missing", "a list: write ['NA']"),
                ("clicked: 2020-09-14", "clicked", "text, and YAML takes it for a day (2020-09-14)"),
            )
        ),
        (MINIMAL + "training: {learning_rate: .inf}\n", ["training.learning_rate", "finite"]),
        (MINIMAL + "model: {history: transformer}\ntraining: {workers: 2}\n", ["model.history transformer", "set 1"]),
        ("name: shop\n", ["data: missing"]),
        ("name: shop\ndata: {interactions: {}}\n", ["data.interactions.path: missing"]),
        ("name: a b\ndata: {interactions: {path: log.csv}}\n", ["name", "pattern"]),
        ("name: [\n", ["not valid YAML", "line 2"]),
        (MINIMAL + "model: {dim: 8}\nmodel: {dim: 9}\n", ["'model' stands there twice, in lines ", "make one of them"]),
        (MINIMAL + "model: {dim: 8, dim: 9}\n", ["'dim' stands there twice"]),
        ("- a\n", ["expected keys and values, found a list"]),
        ("# nothing yet\n", ["expected keys and values, found nothing"]),
        (TASKS.format("path: log.csv"), ["model.tasks needs data.interactions.columns.event"]),
        (
            TASKS.format("path: log.csv, columns: {event: type}, event_weights: {see: 1}"),
            ["model.tasks.purchase: events of type 'buy' are dropped", "event_weights", "give them a weight"],
        ),
        (
            "name: a\ndata: {interactions: {path: log.csv}}\nserving: {exclude: [buy]}\n",
            ["serving.exclude of types of events needs data.interactions.columns.event"],
        ),
        (
            EXCLUDED.format("{see: 1}"),
            ["serving.exclude: 'buy': events of it are dropped (see data.interactions.event_weights)"],
        ),
        (
            EXCLUDED.format("{see: 1, buy: -1}"),
            ["serving.exclude: 'buy': events of it are negative, whose items are left out anyway"],
        ),
        ("name: a\ndata: {interactions: {path: log.csv}}\nserving: {exclude: seen}\n", ["serving.exclude"]),
        (
            TASKS.format("path: log.csv, columns: {event: type}, event_weights: {buy: 2, see: 1, wish: 1}"),
            ["data.interactions.event_weights: no task of model.tasks learns the events of type 'wish'", "remove them"],
        ),
        (
            TASKS.format("path: log.csv, columns: {event: type}, features: {tasks: {type: number}}").replace(
                "model: {", "model: {query_features: [tasks], "
            ),
            ["model.query_features: 'tasks' is what a request with weights of tasks calls them; rename the feature"],
        ),
        (
            MINIMAL + "evaluation: {thresholds: {recall: {min: 1}}}\n",
            ["evaluation", "'recall' is not measured", "hit_rate@10"],
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    path = config_file(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_config(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.dim", "expected key=value"),
        ("name.dim=3", "'name' has no keys"),
        ("model.dim=[", "not valid YAML"),
        ("a.b=%Y", """not valid YAML, write "'%Y'": """),
    ],
)
def test_bad_overrides_are_named(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_config(config_file(tmp_path, MINIMAL), (override,))


def test_a_file_of_overrides_goes_between_the_config_and_set(tmp_path: Path) -> None:
    path = config_file(tmp_path, MINIMAL + "model: {dim: 8, dropout: 0.3}\nseed: 1\n")
    other = tmp_path / "best.yaml"
    other.write_text("model: {dim: 16, query_layers: [4, 2]}\ntraining: {epochs: 3}\nseed: 2\n")
    config = load_config(path, ("seed=3",), (other,))
    assert (config.model.dim, config.model.dropout, config.model.query_layers) == (16, 0.3, (4, 2))
    assert (config.training.epochs, config.seed, config.data.interactions.path) == (3, 3, "log.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"best\.yaml: no such file; `recommender tune` writes one"),
        ("- a\n", r"best\.yaml: expected keys and values"),
        ("a: [\n", r"best\.yaml: not valid YAML"),
        ("model: {dimm: 3}\n", r"(?s)config\.yaml with .*best\.yaml: the config is wrong:.*model\.dimm: unknown key"),
        ("model: 3\n", r"(?s)best\.yaml: the config is wrong:.*model: "),
    ],
)
def test_a_wrong_file_of_overrides_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "best.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        load_config(config_file(tmp_path, MINIMAL), (), [tmp_path / "best.yaml"])


def test_a_missing_file_is_named_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=r"nothing\.yaml: no such config file \(there are: .*movielens_100k\.yaml"):
        load_config("configs/nothing.yaml")


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("127.0.0.1", "127.0.0.1:9"),
        ("models.example", "models.example:9"),
        ("0.0.0.0", "127.0.0.1:9"),
        ("::", "[::1]:9"),
        ("::1", "[::1]:9"),
        ("[::1]", "[::1]:9"),
        ("2001:db8::7", "[2001:db8::7]:9"),
    ],
)
def test_a_server_is_asked_where_it_listens(host: str, target: str) -> None:
    assert ServingConfig(host=host).target(9) == target
    assert parse_target(target, "grpc") == (target.removesuffix(":9"), 9), "as the client reads it"


@pytest.mark.slow
@pytest.mark.smoke
def test_config_needs_no_tensorflow() -> None:
    program = (
        "import sys, pipeline.config\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_negative_events_need_no_task() -> None:
    log = {"path": "log.csv", "columns": {"event": "type"}, "event_weights": {"buy": 2, "return": -1}}
    log["never_again"] = ["hide"]
    config = {"name": "shop", "data": {"interactions": log}, "model": {"tasks": {"purchase": {"events": ["buy"]}}}}
    assert Config.model_validate(config).data.interactions.has_negatives
    config["model"] = {"tasks": {"purchase": {"events": ["buy", "return", "hide"]}}}
    assert Config.model_validate(config).data.interactions.weight_of_type == {"hide": -1, "buy": 2, "return": -1}


def test_whom_to_tell_is_found_in_what_is_no_config(tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text("nightly:\n  notify: [json://a, 7]\n\n  gc: off\ndata: {never: closed\n")
    assert find_notify(config) == ["json://a"]
    assert find_notify(config, environ={"RECOMMENDER_NIGHTLY__NOTIFY": "[json://b]"}) == ["json://b"]
    assert find_notify(config, ["nightly.notify=[json://c]"]) == ["json://c"]
    (tmp_path / "more.yaml").write_text("nightly: {notify: [json://d]}")
    assert find_notify(config, overrides=[tmp_path / "more.yaml"]) == ["json://d"]
    assert find_notify(tmp_path / "none.yaml") == []
    for content in ("", "7", "nightly: 7", "nightly: {notify: 7}", "{", "\0"):
        config.write_text(content)
        assert find_notify(config) == []
