"""Where the metadata are: the config's key, the password, and what is said of a server that can't be used."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import Config, load_config
from pipeline.metadata import Handle, connection_config, open_store

SERVER = {"backend": "mysql", "host": "db.example", "database": "recommender", "user": "shop"}


def config_of(**metadata: Any) -> Config:
    return Config(name="shop", output="out", data={"interactions": {"path": "log.csv"}}, metadata=metadata)


def test_by_default_it_is_a_file_beside_the_artifacts():
    connection = connection_config(config_of())
    assert connection.sqlite.filename_uri == os.path.abspath("out/shop/metadata.sqlite")
    assert connection.WhichOneof("config") == "sqlite"


def test_mysql(tmp_path):
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "ca.pem").touch()
    settings = {**SERVER, "password_file": str(tmp_path / "password"), "retries": 9}
    connection = connection_config(config_of(**settings, tls={"ca": str(tmp_path / "ca.pem")}))
    assert connection.retry_options.max_num_retries == 9
    server = connection.mysql
    assert (server.host, server.port, server.database, server.user) == ("db.example", 3306, "recommender", "shop")
    assert (server.password, server.ssl_options.ca) == ("s3cret", str(tmp_path / "ca.pem"))
    assert server.skip_db_creation
    # MySQL's clients take the name localhost for a Unix socket's.
    assert connection_config(config_of(**{**settings, "host": "localhost"})).mysql.host == "127.0.0.1"
    socket_ = "/run/mysqld/mysqld.sock"
    assert connection_config(config_of(**{**settings, "host": socket_})).mysql.socket == socket_


def test_a_password_in_the_environment(monkeypatch):
    monkeypatch.setenv("PASSWORD_OF_SHOP", "s3cret ")
    assert connection_config(config_of(**SERVER, password_env="PASSWORD_OF_SHOP")).mysql.password == "s3cret "


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"password_env": "NOT_SET_ANYWHERE"}, "the environment has no variable NOT_SET_ANYWHERE"),
        ({"password_file": "/nowhere/password"}, "/nowhere/password can't be read: No such file"),
        ({"tls": {"ca": "/nowhere/ca.pem"}}, "metadata.tls.ca: there is no file /nowhere/ca.pem"),
    ],
)
def test_what_is_not_there_is_named(more, words):
    with pytest.raises(InputError) as raised:
        connection_config(config_of(**{**SERVER, **more}))
    assert words in str(raised.value)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("PASSWORD_OF_SHOP", "s3cret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = {**SERVER, "host": "127.0.0.1", "port": port, "password_env": "PASSWORD_OF_SHOP"}
    connection = connection_config(config_of(**server))
    for opened in (lambda: open_store(connection), lambda: Handle(connection).__enter__()):
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port} can't be reached: Connection refused") as raised:
            opened()
        assert "s3cret" not in str(raised.value)


def test_no_run_yet(tmp_path: Path):
    config = Config(name="shop", output=tmp_path, data={"interactions": {"path": "log.csv"}})
    with pytest.raises(InputError, match=r"no such file.*recommender run"):
        open_store(connection_config(config))
    assert not list(tmp_path.iterdir())


def test_the_examples_of_the_page_are_configs(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "metadata.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        path = tmp_path / "config.yaml"
        path.write_text(f"name: shop\ndata: {{interactions: {{path: log.csv}}}}\n{example}")
        assert load_config(path).metadata.backend == "mysql"
