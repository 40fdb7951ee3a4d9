"""The one place that says how to connect to the metadata (MLMD), and opens it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from components.errors import InputError
from pipeline.config import Config

_PAGE = "see docs/metadata.md"
_PROBE_SECONDS = 5.0
_NO_RIGHTS = re.compile(r"command denied|Access denied for user .* to database")
_SCHEMA = re.compile(r"database version (\d+) is (?:older|greater) than library version (\d+)")


def connection_config(config: Config) -> metadata_store_pb2.ConnectionConfig:
    """How to reach a pipeline's metadata.

    Raises:
        InputError: The password is not where the config says.
    """
    settings = config.metadata
    connection = metadata_store_pb2.ConnectionConfig()
    connection.retry_options.max_num_retries = settings.retries
    if settings.backend == "sqlite":
        connection.sqlite.filename_uri = str(config.folder() / "metadata.sqlite")
        connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return connection
    server = connection.mysql
    server.port, server.database, server.user = settings.port, settings.database, settings.user
    if settings.host.startswith("/"):
        server.socket = settings.host
    else:
        # The client takes this one name for that of a Unix socket.
        server.host = "127.0.0.1" if settings.host == "localhost" else settings.host
    if settings.tls:
        for option, key in (("ca", "ca"), ("cert", "certificate"), ("key", "key")):
            path = getattr(settings.tls, key) or ""
            if path and not os.path.isfile(path):
                raise InputError(f"metadata.tls.{key}: there is no file {path}")
            setattr(server.ssl_options, option, path)
    server.skip_db_creation = True  # a user who may make databases is more than is needed
    server.password = _password(config)
    return connection


def _password(config: Config) -> str:
    settings = config.metadata
    if settings.password_env:
        if settings.password_env not in os.environ:
            raise InputError(f"metadata.password_env: the environment has no variable {settings.password_env}")
        return os.environ[settings.password_env]
    if settings.password_file:
        try:
            return Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InputError(f"metadata.password_file: {settings.password_file} can't be read: {reason}") from None
    return ""


def open_store(connection: metadata_store_pb2.ConnectionConfig) -> metadata_store.MetadataStore:
    """Opens the metadata of runs that there have been.

    Raises:
        InputError: There was none, or the server can't be used; the message says why.
    """
    if connection.HasField("sqlite"):
        path = connection.sqlite.filename_uri
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file, so there was no run yet; make one with `recommender run`")
    with _explained(connection):
        return metadata_store.MetadataStore(connection)


class Handle(metadata.Metadata):
    """TFX's handle on the metadata, which says in words of ours why it can't be opened."""

    def __enter__(self) -> Handle:
        with _explained(self.connection_config):
            super().__enter__()
        return self


@contextlib.contextmanager
def _explained(connection: metadata_store_pb2.ConnectionConfig) -> Iterator[None]:
    """Turns what a server refuses into one message."""
    try:
        yield
    except RuntimeError as error:
        if connection.HasField("sqlite"):
            raise
        raise InputError(_reason(connection.mysql, str(error))) from error


def _reason(config: metadata_store_pb2.MySQLDatabaseConfig, said: str) -> str:
    """Why a server can't be used.

    Args:
        config: How it was to be reached.
        said: What MLMD has to say.
    """
    server = f"metadata: the server at {config.socket or f'{config.host}:{config.port}'}"
    if why := _unreachable(config):
        return f"{server} can't be reached: {why}; is it running, and are metadata.host and metadata.port right?"
    user, database = f"user {config.user!r}", f"database {config.database!r}"
    if "Unknown database" in said:
        return f"{server} has no {database}: make it, or mend metadata.database; {_PAGE}"
    if _NO_RIGHTS.search(said):
        return f"{server} gives {user} no right to make tables in the {database}: grant it; {_PAGE}"
    if "mysql_real_connect failed" in said:
        return (
            f"{server} refuses {user}: a wrong password, no such user, TLS that the server wants or has not, or a user "
            f"who does not log in by mysql_native_password, which MLMD needs; {_PAGE}"
        )
    if schema := _SCHEMA.search(said):
        return (
            f"{server} has tables of another release of MLMD in the {database}: their schema is version "
            f"{schema[1]}, this one's is {schema[2]}; name another database, or install what made them; {_PAGE}"
        )
    return f"{server} can't be used with the {database}: {' '.join(said.split())[-500:]}"


def _unreachable(config: metadata_store_pb2.MySQLDatabaseConfig) -> str:
    """Why no connection to the server can be made at all; empty if one can."""
    try:
        if config.socket:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(_PROBE_SECONDS)
                client.connect(config.socket)
        else:
            socket.create_connection((config.host, config.port), _PROBE_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
