"""A real MariaDB server of the distribution's package, in a folder of its own, on the loopback."""

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

REQUIRED = "DATABASE_SERVER_REQUIRED"
"""A variable of the environment that makes a missing server an error, where it could have been installed."""

USER, PASSWORD, DATABASE = "shop", "s3cret, 'quoted'", "recommender"
"""Who may make tables in the database, and nothing else."""

_ADMIN_PASSWORD = "of the admin"


class Server:
    """A MariaDB server that can be killed and started again with the same data."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="metadata-"))
        self.certificate = self.folder / "certificate.pem"
        self.port = _free_port()
        self._process: Optional[subprocess.Popen[bytes]] = None
        # It does not run as root.
        self._account = "nobody" if os.getuid() == 0 else None
        if self._account:
            os.chown(self.folder, pwd.getpwnam(self._account).pw_uid, -1)
        self._make()

    @property
    def settings(self) -> dict[str, Any]:
        """The config's section `metadata`; the password is in PASSWORD_OF_SHOP."""
        return {
            "backend": "mysql",
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
        wait_for(self._answers, "the start of MariaDB")

    def kill(self) -> None:
        """Ends it at once, as when its machine fails."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Ends it and takes its files away."""
        self.kill()
        shutil.rmtree(self.folder)

    def sql(self, statements: str) -> str:
        """Runs statements as the admin; returns what the client prints."""
        call = [_binary("mariadb"), "--no-defaults", "-N", "-h", "127.0.0.1", "-P", str(self.port), "-u", "admin"]
        environment = {**os.environ, "MYSQL_PWD": _ADMIN_PASSWORD}
        done = subprocess.run(
            [*call, DATABASE], input=statements, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _make(self) -> None:
        """Makes the data folder, the user and the database."""
        install = [_binary("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db"]
        self._run([*install, "--auth-root-authentication-method=normal"])
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", self.certificate.name]
        self._run(["openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=127.0.0.1"])
        password = PASSWORD.replace("'", "''")
        (self.folder / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY '{_ADMIN_PASSWORD}';\n"
            "GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION;\n"
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'%';\n"
        )
        self.start()

    def _command(self) -> list[str]:
        return [
            _binary("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            f"--init-file={self.folder}/init.sql",
            f"--ssl-cert={self.certificate}",
            f"--ssl-key={self.folder}/key.pem",
        ]

    def _run(self, call: list[str]) -> None:
        done = subprocess.run(
            call, cwd=self.folder, user=self._account, capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def server() -> Iterator[Server]:
    """A server that runs, for a fixture; the test is skipped where the package is not installed, but not in CI."""
    if _found("mariadbd") is None:
        message = "there is no mariadbd: install Debian's package mariadb-server"
        pytest.fail(message) if os.environ.get(REQUIRED) else pytest.skip(message)
    made = Server()
    try:
        yield made
    finally:
        made.remove()


def _binary(name: str) -> str:
    found = _found(name)
    assert found is not None, f"{name} is not installed"
    return found


def _found(name: str) -> Optional[str]:
    """A program's path; Debian has servers where users don't look."""
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
