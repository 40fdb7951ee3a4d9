"""Object stores on the loopback: S3 by moto's server, Google's by an emulator, both over HTTP, and bad lines."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import tempfile
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from serving.stores import ObjectPath

_LAST: dict[str, str] = {}  # what `enter` was last called with
_SERVERS = 0  # of moto, open


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A server of S3's interface, empty; yields the environment that leads to it.

    That is moto's, or S3Proxy where the variable `S3_SERVER` says `s3proxy`.
    """
    user, password = "tests", "of no use elsewhere"
    with _s3proxy(user, password) if os.environ.get("S3_SERVER") == "s3proxy" else _moto() as url:
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": password,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def _moto() -> Iterator[str]:
    from moto.core.base_backend import BackendDict
    from moto.server import ThreadedMotoServer

    global _SERVERS
    if not _SERVERS:
        BackendDict.reset()  # all servers of a process have the same buckets, and keep them
    _SERVERS += 1
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()
        _SERVERS -= 1


@contextlib.contextmanager
def _s3proxy(user: str, password: str) -> Iterator[str]:
    from tests.engines.s3proxy import s3proxy

    with tempfile.TemporaryDirectory() as folder, s3proxy(Path(folder), user, password) as url:
        yield url


@contextlib.contextmanager
def gs_server() -> Iterator[dict[str, str]]:
    """A server of Google Cloud Storage's interface; yields the environment that leads to it."""
    from gcp_storage_emulator.server import create_server

    with create_server("127.0.0.1", 0, in_memory=True) as server:
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server._api._httpd.server_port}"}


def make_bucket(url: str) -> ObjectPath:
    """Makes a bucket where `enter` has led to."""
    bucket = ObjectPath(url)
    kind, name = url.split("://")
    store = fsspec.filesystem(kind)
    if kind == "s3":
        store.call_s3("create_bucket", Bucket=name)  # `mkdir` asks where it is first, and S3Proxy knows of any bucket
    else:
        store.mkdir(name)
    return bucket


def new_bucket(kind: str) -> ObjectPath:
    """Makes a bucket that nobody has seen, in the store of this protocol."""
    return make_bucket(f"{kind}://bucket-{uuid.uuid4().hex}")


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


class Killed(Exception):
    """Stands for SIGKILL: after it nothing has any effect."""


@dataclass
class Request:
    """What a client asks of a store."""

    number: int
    """Counted from 0."""
    method: str
    path: str
    """With what stands behind a question mark."""


class Proxy:
    """Stands before a store and treats requests as networks do.

    Fates: `pass`; `cut`, the connection ends before the store has heard of it; `lose`, the store does it and the answer
    is lost; `twice`, the store hears of it twice; `late`, the client hears of a failure, and the store does it all the
    same, half a second later; a number such as `503` is what the client is answered, while the store hears of nothing.

    Google's emulator takes no notice of `ifGenerationMatch`, so with `generations` it is looked after here.

    Args:
        url: the store's address.
        generations: whether writes on a condition are refused here.
    """

    def __init__(self, url: str, generations: bool = False) -> None:
        self.fate: Callable[[Request], str] = lambda request: "pass"
        self.requests: list[Request] = []
        self.fates: list[str] = []
        self._target = urllib.parse.urlsplit(url)
        self._generations = generations
        self._one = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # which says to go on where a client waits for that

            def handle_all(self) -> None:
                proxy._handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_all

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, client: http.server.BaseHTTPRequestHandler) -> None:
        body = _body(client)
        with self._one:
            request = Request(len(self.requests), client.command, client.path)
            self.requests.append(request)
            fate = self.fate(request)
            self.fates.append(fate)
        client.close_connection = True
        if fate == "cut":
            return
        if fate == "late":
            threading.Timer(0.5, self._forward, (client, body)).start()
            fate = "503"
        if fate.isdecimal():
            client.send_response(int(fate))
            client.send_header("Content-Length", "0")
            client.end_headers()
            return
        for _ in range(2 if fate == "twice" else 1):
            status, headers, content = self._forward(client, body)
        if fate == "lose":
            return
        client.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                client.send_header(name, value)
        client.send_header("Connection", "close")
        client.end_headers()
        client.wfile.write(content)

    def _forward(self, client: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        query = urllib.parse.parse_qs(client.path.partition("?")[2])
        wanted = query.get("ifGenerationMatch", [""])[0]
        with self._one:
            if self._generations and wanted:
                bucket = client.path.split("/b/")[1].split("/")[0]
                name = urllib.parse.quote(query["name"][0], safe="")
                status, _, about = self._ask("GET", f"/storage/v1/b/{bucket}/o/{name}", {}, b"")
                there = json.loads(about)["generation"] if status == 200 else "0"
                if there != wanted:
                    refusal = b'{"error": {"code": 412, "message": "conditionNotMet"}}'
                    return 412, [("Content-Length", str(len(refusal)))], refusal
            return self._ask(client.command, client.path, dict(client.headers), body)

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(str(self._target.hostname), self._target.port)
        kept = {name: value for name, value in headers.items() if name.lower() not in ("transfer-encoding", "expect")}
        connection.request(method, path, body, {**kept, "Content-Length": str(len(body)), "Connection": "close"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content


def _body(client: http.server.BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in client.headers.get("Transfer-Encoding", ""):
        return client.rfile.read(int(client.headers.get("Content-Length") or 0))
    body = b""
    while size := int(client.rfile.readline().split(b";")[0], 16):
        body += client.rfile.read(size)
        client.rfile.readline()
    client.rfile.readline()
    return body
