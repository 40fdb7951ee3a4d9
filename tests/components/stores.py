"""Object stores on the loopback: S3 by moto's server, Google's by an emulator, both over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

_LAST: dict[str, str] = {}  # what `enter` was last called with


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A server of S3's interface; yields the environment that leads to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "of no use elsewhere",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()


@contextlib.contextmanager
def gs_server() -> Iterator[dict[str, str]]:
    """A server of Google Cloud Storage's interface; yields the environment that leads to it."""
    from gcp_storage_emulator.server import create_server

    with create_server("127.0.0.1", 0, in_memory=True) as server:
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server._api._httpd.server_port}"}


def enter(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads this process to a server."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if any(_LAST.get(name) != value for name, value in environment.items()):
        forget()
        _LAST.update(environment)


def forget() -> None:
    """Makes new clients of what the environment says by now; fsspec remembers them by their options alone."""
    import gcsfs
    import s3fs

    for kind in (gcsfs.GCSFileSystem, s3fs.S3FileSystem):
        kind.clear_instance_cache()
    _LAST.clear()
