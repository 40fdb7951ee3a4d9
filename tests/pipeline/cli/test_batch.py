"""`recommender batch`, `vectors`, `export` and `shard`: what their options ask for, and what is said of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.errors import InputError
from pipeline.batch import run
from pipeline.batch.answers import Wish
from pipeline.batch.outputs import output_of
from pipeline.batch.run import Request
from pipeline.batch.vectors import run as vectors
from pipeline.cli.app import app
from pipeline.config import Config
from pipeline.local import sharding
from pipeline.terminal import Outcome
from tests.pipeline.cli.command import recommender


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a config."""
    config = {"name": "shop", "data": {"interactions": {"path": "log.csv"}}, "serving": {"default_k": 2}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, str | None]]:
    """What the command asks for."""
    made: list[tuple[Request, str | None]] = []

    def note(config: Config, request: Request, version: str | None) -> Outcome:
        made.append((request, version))
        return Outcome()

    monkeypatch.setattr(run, "batch", note)
    return made


def test_the_options(folder: Path, requests: list[tuple[Request, str | None]]) -> None:
    arguments = ["batch", "--config", str(folder / "config.yaml"), "--out", str(folder / "top.csv")]
    rules = ["--filter", "brand=x", "--filter", "price<=20", "--boost", "brand=x:0.5", "--diversity", "0.3"]
    rules += ["--leave-out", "nothing"]
    rest = ["--allow", '"a,b",c', "--exclude", "d,e", "--context", "age=30", "--users", "who.txt", "--version", "7"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, *rules, *rest, "-k", "5", "--layout", "long"]).exit_code == 0
    assert requests == [
        (Request(Wish(2), output_of(folder / "top.csv")), None),
        (
            Request(
                Wish(
                    5, ("d", "e"), ("a,b", "c"), ("brand=x", "price<=20"), (("brand=x", 0.5),), 0.3, leave_out="nothing"
                ),
                output_of(folder / "top.csv", None, "long"),
                "who.txt",
                {"age": 30},
            ),
            "7",
        ),
    ]


def test_the_options_of_audiences(folder: Path, requests: list[tuple[Request, str | None]]) -> None:
    arguments = ["batch", "--config", str(folder / "config.yaml"), "--out", str(folder / "top.csv"), "--items"]
    rules = ["--filter", "city=x", "--allow", "ann,bob", "--exclude", "cy", "--owners"]
    assert CliRunner().invoke(app, [*arguments, "all"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "which.txt", *rules, "-k", "5"]).exit_code == 0
    assert [request for request, _ in requests] == [
        Request(Wish(2), output_of(folder / "top.csv"), items="all"),
        Request(
            Wish(5, ("cy",), ("ann", "bob"), ("city=x",), exclude_owners=False),
            output_of(folder / "top.csv"),
            items="which.txt",
        ),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--items", "all", "--users", "who.txt"], "--users is of lists of items, and with --items"),
        (["--items", "all", "--context", "age=3"], "--context is of lists of items"),
        (["--items", "all", "--boost", "a=b:1"], "--boost is of lists of items"),
        (["--items", "all", "--leave-out", "all"], "--leave-out is of lists of items"),
        (["--leave-out", "bought"], "leave_out='bought': it is 'all', 'nothing'"),
        (["--items", "all", "--diversity", "0"], "--diversity is of lists of items"),
        (["--owners"], "--owners is of audiences: give --items too"),
        (["--filter", "brand"], "--filter 'brand': expected name=value"),
        (["--boost", "brand=x"], "--boost 'brand=x': expected condition:number"),
        (["--diversity", "2"], "diversity=2.0: it is from 0"),
        (["--format", "xml"], "--format xml: it is csv"),
        (["--context", "age"], "--context 'age': expected name=value"),
    ],
)
def test_options_that_can_not_be_meant(
    folder: Path, requests: list[tuple[Request, str | None]], options: list[str], message: str
) -> None:
    arguments = ["batch", "--config", str(folder / "config.yaml"), "--out", str(folder / "top.csv"), *options]
    ended = CliRunner().invoke(app, arguments)
    assert isinstance(ended.exception, InputError)
    assert message in str(ended.exception)
    assert not requests


@pytest.mark.slow
@pytest.mark.smoke
def test_the_command_starts_without_tensorflow() -> None:
    program = "import sys, pipeline.cli.batch, pipeline.cli.app; sys.exit('tensorflow' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", program]) == 0


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[vectors.Request, str | None]]:
    """Of which vectors the command asks for."""
    made: list[tuple[vectors.Request, str | None]] = []

    def note(config: Config, request: vectors.Request, version: str | None) -> Outcome:
        made.append((request, version))
        return Outcome()

    monkeypatch.setattr(vectors, "vectors", note)
    return made


def test_which_vectors_are_asked_for(folder: Path, written: list[tuple[vectors.Request, str | None]]) -> None:
    out = folder / "vectors"
    arguments = ["vectors", "--config", str(folder / "config.yaml"), "--out", str(out)]
    models = folder / "models"
    models.mkdir()
    (models / "models.config").write_text(
        'model_config_list { config { name: "shop" base_path: "/models/shop" model_platform: "tensorflow"'
        ' model_version_policy { specific { versions: 7 } } version_labels { key: "stable" value: 7 } } }'
    )
    labelled = ["--label", "stable", "--set", f"serving.base_path={models}"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    options = ["--format", "npy", "--fold-bias", "--check", "0", "--whole-model", "--version", "s3://bucket/shop/7"]
    assert CliRunner().invoke(app, [*arguments, *options]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, *labelled]).exit_code == 0
    assert written == [
        (vectors.Request(out, "parquet", fold_bias=False, check=200, whole_model=False), None),
        (vectors.Request(out, "npy", fold_bias=True, check=0, whole_model=True), "s3://bucket/shop/7"),
        (vectors.Request(out), "7"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "csv"], "--format csv: it is parquet or npy"),
        (["--label", "stable", "--version", "7"], "--version and --label exclude each other"),
        (["--label", "stable"], "--label stable: no version has it"),
    ],
)
def test_vectors_that_can_not_be_meant(
    folder: Path, written: list[tuple[vectors.Request, str | None]], options: list[str], message: str
) -> None:
    arguments = ["vectors", "--config", str(folder / "config.yaml"), "--out", str(folder / "vectors"), *options]
    ended = CliRunner().invoke(app, arguments)
    assert isinstance(ended.exception, InputError)
    assert message in str(ended.exception)
    assert not written


def test_export_says_how_large_the_archive_is(folder: Path) -> None:
    version = folder / "output" / "models" / "shop" / "7"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")
    told = recommender("export", "--config", "config.yaml", "--out", "model.tar.gz", cwd=folder)
    assert (told.returncode, told.stdout) == (0, "model.tar.gz: 0.0 MiB\n"), told.stderr
    asked = recommender("export", "--config", "config.yaml", "--out", "model.tar.gz", "--json", cwd=folder)
    facts = json.loads(asked.stdout)
    assert facts == {"out": str(folder / "model.tar.gz"), "bytes": (folder / "model.tar.gz").stat().st_size}
    wrong = recommender("export", "--config", "config.yaml", "--out", "b.tar.gz", "--version", "8", cwd=folder)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: --version 8: neither a version in ")
    assert not (folder / "b.tar.gz").exists()


def test_shard_splits_the_version_that_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int, int | None]] = []

    def note(config: Config, out: Path, shards: int, number: int | None) -> Outcome:
        asked.append((out, shards, number))
        return Outcome()

    monkeypatch.setattr(sharding, "shard", note)
    arguments = ["shard", "--config", str(folder / "config.yaml"), "--out", "shards", "--shards"]
    assert CliRunner().invoke(app, [*arguments, "4"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "2", "--version", "7"]).exit_code == 0
    assert asked == [(Path("shards"), 4, None), (Path("shards"), 2, 7)]
    assert CliRunner().invoke(app, [*arguments, "1"]).exit_code == 2
