"""Real database servers of the distribution's packages, each in a folder of its own, on the loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.e2e.world import wait_for

REQUIRED = "DATABASE_SERVERS_REQUIRED"
"""A variable of the environment that makes a missing server an error, where it could have been installed."""

USER, PASSWORD, DATABASE = "shop", "s3cret, 'quoted'", "recommender"
"""Who may make tables in the database, and nothing else."""

_ADMIN_PASSWORD = "of the admin"


class Server:
    """A PostgreSQL or MariaDB server that can be killed and started again with the same data."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.folder = Path(tempfile.mkdtemp(prefix="metadata-"))
        self.port = _free_port()
        self._process: Optional[subprocess.Popen[bytes]] = None
        # Neither server runs as root.
        self._account = "nobody" if os.getuid() == 0 else None
        if self._account:
            os.chown(self.folder, pwd.getpwnam(self._account).pw_uid, -1)
        self._make()

    @property
    def settings(self) -> dict[str, Any]:
        """The config's section `metadata`; the password is in PASSWORD_OF_SHOP."""
        return {
            "backend": self.backend,
            "host": "127.0.0.1",
            "port": self.port,
            "database": DATABASE,
            "user": USER,
            "password_env": "PASSWORD_OF_SHOP",
        }

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, stdout=log, stderr=log, user=self._account, start_new_session=True
            )
        wait_for(self._answers, f"the start of {self.backend}")

    def kill(self) -> None:
        """Ends it at once, as when its machine fails."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            # PostgreSQL's children notice, and leave the shared memory that a new server needs.
            wait_for(lambda: not self._answers(), f"the end of {self.backend}")
            self._process = None

    def remove(self) -> None:
        """Ends it and takes its files away."""
        self.kill()
        shutil.rmtree(self.folder)

    def sql(self, statements: str, database: str = DATABASE) -> str:
        """Runs statements as the admin; returns what the client prints."""
        environment = {**os.environ, "PGPASSWORD": _ADMIN_PASSWORD, "MYSQL_PWD": _ADMIN_PASSWORD}
        if self.backend == "postgresql":
            call = [_binary("psql"), "-qtA", "-h", "127.0.0.1", "-p", str(self.port), "-U", "admin", "-d", database]
        else:
            call = [_binary("mariadb"), "-N", "-h", "127.0.0.1", "-P", str(self.port), "-u", "admin", "-D", database]
        done = subprocess.run(call, input=statements, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _make(self) -> None:
        """Makes the data folder, the user and the database."""
        password = PASSWORD.replace("'", "''")
        if self.backend == "postgresql":
            (self.folder / "admin").write_text(_ADMIN_PASSWORD)
            initdb = [_binary("initdb"), "-D", f"{self.folder}/data", "-U", "admin", "--auth=scram-sha-256"]
            self._run([*initdb, f"--pwfile={self.folder}/admin", "--encoding=UTF8", "--no-sync"])
            self.start()
            self.sql(f"CREATE USER {USER} PASSWORD '{password}';\nCREATE DATABASE {DATABASE} OWNER {USER};", "postgres")
            return
        install = [_binary("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db"]
        self._run([*install, "--auth-root-authentication-method=normal"])
        (self.folder / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY '{_ADMIN_PASSWORD}';\n"
            "GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION;\n"
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'%';\n"
        )
        self.start()

    def _command(self) -> list[str]:
        if self.backend == "postgresql":
            data = [_binary("postgres"), "-D", f"{self.folder}/data", "-p", str(self.port)]
            return [*data, "-k", str(self.folder), "-h", "127.0.0.1"]
        return [
            _binary("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            f"--init-file={self.folder}/init.sql",
        ]

    def _run(self, call: list[str]) -> None:
        done = subprocess.run(
            call, cwd=self.folder, user=self._account, capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        if self.backend == "mysql":
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", self.port)) == 0
        ready = [_binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0


def server(backend: str) -> Iterator[Server]:
    """A server that runs, for a fixture; the test is skipped where the package is not installed, but not in CI."""
    name, package = {"postgresql": ("postgres", "postgresql"), "mysql": ("mariadbd", "mariadb-server")}[backend]
    if _found(name) is None:
        message = f"there is no {name}: install Debian's package {package}"
        pytest.fail(message) if os.environ.get(REQUIRED) else pytest.skip(message)
    made = Server(backend)
    try:
        yield made
    finally:
        made.remove()


def _binary(name: str) -> str:
    found = _found(name)
    assert found is not None, f"{name} is not installed"
    return found


def _found(name: str) -> Optional[str]:
    """A program's path; Debian puts those of PostgreSQL aside."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, versions), os.environ["PATH"], "/usr/sbin"]))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
