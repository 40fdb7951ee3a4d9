"""Settings of the metadata's place, free of MLMD so that the command line starts fast."""

from __future__ import annotations

from typing import Any, Literal, Optional

from pydantic import Field, field_validator, model_validator

from components.settings import Settings


class DatabaseTlsSettings(Settings):
    """TLS to the metadata's server. MLMD's client encrypts by it, but neither checks the server's certificate nor
    refuses a server without TLS: let the server require TLS of the user (`REQUIRE SSL`)."""

    ca: str
    """A PEM file of the authorities that the server's certificate is from."""

    certificate: Optional[str] = None
    """The PEM file of the certificate that is shown, if the server asks for one."""

    key: Optional[str] = None
    """The PEM file of its private key."""


class MetadataSettings(Settings):
    """Where MLMD keeps what has run, with which inputs and settings, and what came of it. See docs/metadata.md."""

    backend: Literal["sqlite", "mysql"] = "sqlite"
    """sqlite: a file, `<output>/<name>/metadata.sqlite`. mysql: a server, MySQL or MariaDB, by what follows."""

    host: str = ""
    """The server's name or address, or the path of its Unix socket."""

    port: int = Field(3306, ge=1, le=65535)
    """The server's port."""

    database: str = Field("", pattern=r"^[A-Za-z0-9_]*$")
    """The database, which must be there; MLMD makes its tables in it. Several pipelines may share one."""

    user: str = ""
    """Who connects."""

    password_env: Optional[str] = Field(None, min_length=1)
    """The variable of the environment that holds the password."""

    password_file: Optional[str] = Field(None, min_length=1)
    """A file that holds the password and nothing else, such as a mounted secret."""

    tls: Optional[DatabaseTlsSettings] = None
    """TLS to the server."""

    retries: int = Field(5, ge=0)
    """How often MLMD repeats a transaction that the server has aborted."""

    @field_validator("backend", mode="before")
    @classmethod
    def _no_postgresql(cls, backend: Any) -> Any:
        if backend in ("postgresql", "postgres"):
            raise ValueError(
                "MLMD's client for PostgreSQL fails on texts with a backslash and does not find all inputs that come "
                "from the cache; take mysql, which is MySQL or MariaDB"
            )
        return backend

    @model_validator(mode="after")
    def _fits_the_backend(self) -> MetadataSettings:
        if self.backend == "sqlite":
            unused = sorted(self.model_fields_set - {"backend", "retries"})
            if unused:
                raise ValueError(f"{', '.join(unused)}: only with backend mysql")
            return self
        missing = [name for name in ("host", "database", "user") if not getattr(self, name)]
        if missing:
            raise ValueError(f"backend {self.backend} needs {', '.join(missing)}")
        if self.password_env and self.password_file:
            raise ValueError("password_env and password_file exclude each other")
        return self
