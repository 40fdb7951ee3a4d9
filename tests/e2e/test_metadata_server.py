"""Runs whose metadata are on a database server: the cache, lineage, reports and reindexing, and a server that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.errors import InputError
from pipeline.config import Config, load_config
from pipeline.config.metadata import DatabaseTlsSettings
from pipeline.metadata import connection_config, open_store
from pipeline.report.history import History, run_ids
from tests.e2e import world as small_world
from tests.e2e.database_server import PASSWORD, Server, server
from tests.e2e.world import Ended, World

pytestmark = pytest.mark.slow

CONFIG = ("--config", "config.yaml")


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    yield from server()


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_SHOP", PASSWORD)


@pytest.fixture(scope="module")
def place(database: Server, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's folder, with the server's metadata in its config."""
    folder = tmp_path_factory.mktemp("place")
    small_world.write_world(world, folder)
    quick = {"training.epochs": 2, "evaluation.thresholds": {"hit_rate@10": {"min": 0.0}}}
    small_world.write_config(folder / "config.yaml", {"metadata": database.settings, **quick})
    return folder


def config_of(place: Path) -> Config:
    return load_config(place / "config.yaml")


def test_runs_reports_and_reindexing_go_by_the_server(place: Path, database: Server, cli: Callable[..., Ended]) -> None:
    first = cli(place, "run", *CONFIG)
    assert first.code == 0, first.text
    assert set(first.states().values()) == {"done"}

    # The machine of the database fails between two runs.
    database.kill()
    down = cli(place, "run", *CONFIG)
    assert down.code == 2, down.text
    assert f"127.0.0.1:{database.port} can't be reached: Connection refused" in down.text
    assert len(down.stdout.strip().split("\n")) == 3, "where the log is, the error, how long it took"
    database.start()

    second = cli(place, "run", *CONFIG)
    assert second.code == 0, second.text
    # What is on disk only the Pusher knows, so that one is never cached; and Guards have a version to look at now.
    assert {node for node, state in second.states().items() if state != "cached"} <= {"Guards", "Pusher"}
    assert "nothing new" in second.stdout
    assert "report: " in second.stdout

    page = cli(place, "report", *CONFIG, "--out", "page.html")
    assert page.code == 0, page.text
    assert "InteractionGen" in (place / "page.html").read_text(encoding="utf-8")
    [version] = small_world.versions(place)
    runs = run_ids(History(open_store(connection_config(config_of(place))), small_world.NAME))
    assert len(runs) == 2
    compared = cli(place, "compare", version.name, runs[1], *CONFIG, "--out", "compare.html")
    assert compared.code == 0, compared.text

    reindexed = cli(place, "reindex", *CONFIG)
    assert reindexed.code == 0, reindexed.text
    assert "Trainer" not in reindexed.states()

    for path in place.rglob("*"):
        assert path.name != "metadata.sqlite"
        if path.is_file() and path.suffix in (".log", ".html", ".json"):
            assert PASSWORD not in path.read_text(encoding="utf-8", errors="replace"), path
    assert PASSWORD not in first.text + down.text + second.text


def test_several_pipelines_share_a_database(place: Path, database: Server, cli: Callable[..., Ended]) -> None:
    other = ("--set", "name=other", "--only", "ImportSchemaGen")
    before = run_ids(History(open_store(connection_config(config_of(place))), small_world.NAME))
    ended = cli(place, "run", *CONFIG, *other)
    assert ended.code == 0, ended.text
    store = open_store(connection_config(config_of(place)))
    assert run_ids(History(store, small_world.NAME)) == before
    assert len(run_ids(History(store, "other"))) == 1
    nothing = cli(place, "reindex", *CONFIG, "--set", "name=other")
    assert nothing.code == 2
    assert "no training has ended yet" in nothing.text


def test_what_the_server_refuses_is_said(place: Path, database: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(**changes: str) -> str:
        config = config_of(place)
        metadata = config.metadata.model_copy(update=changes)
        with pytest.raises(InputError) as raised:
            open_store(connection_config(config.model_copy(update={"metadata": metadata})))
        assert PASSWORD not in str(raised.value)
        return str(raised.value)

    monkeypatch.setenv("WRONG", "not it")
    assert "refuses user 'shop': a wrong password" in refusal(password_env="WRONG")
    # A user without rights is not told whether a database is there.
    assert "no right to make tables in the database 'nowhere'" in refusal(database="nowhere")
    database.sql("GRANT ALL ON gone.* TO shop;")
    assert "has no database 'gone': make it" in refusal(database="gone")
    database.sql("CREATE DATABASE untouchable; GRANT SELECT ON untouchable.* TO shop;")
    assert "gives user 'shop' no right to make tables in the database 'untouchable'" in refusal(database="untouchable")


@pytest.mark.parametrize("version", [1, 99])
def test_tables_of_another_release_are_left_alone(place: Path, database: Server, version: int) -> None:
    connection = connection_config(config_of(place))
    open_store(connection)  # makes the tables where this test runs alone
    own = database.sql("SELECT schema_version FROM MLMDEnv;")
    database.sql(f"UPDATE MLMDEnv SET schema_version = {version};")
    try:
        with pytest.raises(InputError, match=rf"schema is version {version}, this one's is {own}; name another"):
            open_store(connection)
        assert database.sql("SELECT schema_version FROM MLMDEnv;") == str(version)
    finally:
        database.sql(f"UPDATE MLMDEnv SET schema_version = {own};")


@pytest.mark.parametrize("text", ["a\\b", 'it\'s "it"', '{"delimiter": "\\t"}', "ä🎬", "%s; -- x", "x" * 70_000])
def test_any_text_comes_back(place: Path, text: str) -> None:
    store = open_store(connection_config(config_of(place)))
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="note"))
    note = metadata_store_pb2.Artifact(type_id=kind, uri="/nowhere")
    note.custom_properties["text"].string_value = text
    [number] = store.put_artifacts([note])
    assert store.get_artifacts_by_id([number])[0].custom_properties["text"].string_value == text


def test_tls_where_the_server_wants_it(place: Path, database: Server) -> None:
    config = config_of(place)
    database.sql("ALTER USER shop REQUIRE SSL;")
    try:
        with pytest.raises(InputError, match=r"refuses user 'shop': .* TLS that the server wants"):
            open_store(connection_config(config))
        tls = config.metadata.model_copy(update={"tls": DatabaseTlsSettings(ca=str(database.certificate))})
        assert open_store(connection_config(config.model_copy(update={"metadata": tls}))) is not None
    finally:
        database.sql("ALTER USER shop REQUIRE NONE;")


def test_a_password_in_a_file(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.delenv("PASSWORD_OF_SHOP")
    config = config_of(place)
    by_file = config.metadata.model_copy(update={"password_env": None, "password_file": str(tmp_path / "password")})
    assert open_store(connection_config(config.model_copy(update={"metadata": by_file}))) is not None
