"""TLS and client certificates, over both transports and with both clients."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest

from serving.client import DeadlineExceeded, InvalidRequest, RecommenderClient, Retry, ServerUnavailable, Tls
from tests.serving.misbehaving import Awaited, FakeServer, Reply

pytestmark = [
    pytest.mark.smoke,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by the openssl command"),
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority `ca`, and signed by it `server` (127.0.0.1), `renamed` (recommender.internal) and `client`; and
    `stranger`, whom nobody signed."""
    folder = tmp_path_factory.mktemp("certificates")

    def run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    def key(name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")

    for name in ("ca", "stranger"):
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 is strict
        run("req", "-x509", *key(name), "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}", *usage)
    names = {"server": "IP:127.0.0.1,DNS:localhost", "renamed": "DNS:recommender.internal", "client": "DNS:client"}
    for name, subject in names.items():
        run("req", *key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
        extensions = "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
        (folder / "extensions").write_text(f"{extensions}subjectAltName={subject}\n")
        authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        run("x509", "-req", "-in", f"{name}.csr", *authority, "-out", f"{name}.pem", "-extfile", "extensions")
    return folder


def server_tls(transport: str, folder: Path, name: str = "server", verify: bool = False) -> Any:
    """What `FakeServer` takes; `verify` asks for the client's certificate."""
    if transport == "grpc":
        pair = ((folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes())
        authority = (folder / "ca.pem").read_bytes() if verify else None
        return grpc.ssl_server_credentials([pair], authority, verify)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")
    return context


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, transport: str) -> Callable[..., Any]:
    def make(target: str, timeout: float = 5, **tls: Any) -> Any:
        options = {"model": "m", "transport": transport, "timeout": timeout, "retry": Retry(initial=0.01)}
        return request.param(target, tls=Tls(**{name: str(value) for name, value in tls.items()}), **options)

    return make


def test_tls(make, transport, certificates):
    with (
        FakeServer(transport, tls=server_tls(transport, certificates)) as server,
        make(server.target, ca=certificates / "ca.pem") as client,
    ):
        for _ in range(3):
            assert client.recommend("ann", k=3).item_ids == ["1", "2", "3"]
        assert client.recommend("ann", history=["x" * 1000] * 2000).item_ids == ["1", "2", "3"]


def test_a_client_certificate(make, transport, certificates):
    with FakeServer(transport, tls=server_tls(transport, certificates, verify=True)) as server:
        own = {"certificate": certificates / "client.pem", "key": certificates / "client.key"}
        with make(server.target, ca=certificates / "ca.pem", **own) as client:
            assert len(client.recommend("ann")) == 3
        with make(server.target, ca=certificates / "ca.pem") as client, pytest.raises(ServerUnavailable):
            client.recommend("ann")
        assert len(server.seen) == 1


def test_an_authority_that_the_client_does_not_trust(make, transport, certificates):
    with FakeServer(transport, tls=server_tls(transport, certificates)) as server:
        with (
            make(server.target, ca=certificates / "stranger.pem") as client,
            pytest.raises(ServerUnavailable, match=r"(?i)certificate.verify.failed"),
        ):
            client.recommend("ann")
        assert server.seen == []


def test_the_certificate_must_be_for_the_name(make, transport, certificates):
    with FakeServer(transport, tls=server_tls(transport, certificates, "renamed")) as server:
        with make(server.target, ca=certificates / "ca.pem") as client, pytest.raises(ServerUnavailable):
            client.recommend("ann")
        with make(server.target, ca=certificates / "ca.pem", server_name="recommender.internal") as client:
            assert len(client.recommend("ann")) == 3


def test_files_are_taken_up_anew(make, transport, certificates, tmp_path, monkeypatch):
    """Authority, certificate and key, while calls go on; what is half replaced changes nothing."""
    monkeypatch.setattr("serving.client.certificates._POLL_SECONDS", 0.0)

    def put(name: str, source: str) -> None:
        shutil.copy(certificates / source, tmp_path / "new")
        (tmp_path / "new").rename(tmp_path / name)

    put("ca.pem", "stranger.pem")
    put("own.pem", "stranger.pem")
    put("own.key", "stranger.key")
    own = {name: tmp_path / file for name, file in (("ca", "ca.pem"), ("certificate", "own.pem"), ("key", "own.key"))}
    with (
        FakeServer(transport, tls=server_tls(transport, certificates, verify=True)) as server,
        make(server.target, **own) as client,
    ):
        with pytest.raises(ServerUnavailable):
            client.recommend("ann")
        put("ca.pem", "ca.pem")
        with pytest.raises(ServerUnavailable):
            client.recommend("ann")  # whom the server doesn't know
        put("own.pem", "client.pem")
        with pytest.raises(ServerUnavailable):
            client.recommend("ann")  # the key is the other one's still
        put("own.key", "client.key")
        assert len(client.recommend("ann")) == 3
        put("ca.pem", "client.key")  # no authority at all
        assert len(client.recommend("ann")) == 3
        put("ca.pem", "stranger.pem")
        if transport == "grpc":  # over REST connections are kept, and used as long as they last
            with pytest.raises(ServerUnavailable):
                client.recommend("ann")


@pytest.mark.slow
@pytest.mark.smoke
def test_calls_under_way_outlast_new_certificates(make, transport, certificates, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.client.certificates._POLL_SECONDS", 0.0)
    monkeypatch.setattr("serving.client.grpc_transport._MARGIN_SECONDS", 0.1)
    shutil.copy(certificates / "ca.pem", tmp_path / "ca.pem")
    slow = FakeServer(
        transport, lambda number, _: Reply(delay=0.8 * (number == 0)), tls=server_tls(transport, certificates)
    )
    with (
        slow as server,
        make(server.target, timeout=2.0, ca=tmp_path / "ca.pem") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.recommend, "ann")
        while not server.seen:
            assert not first.done()
            time.sleep(0.01)
        for _ in range(2):
            shutil.copy(certificates / "ca.pem", tmp_path / "ca.pem")
            assert len(client.recommend("bob")) == 3
        assert len(first.result()) == 3


def test_a_client_without_tls(transport, certificates):
    with (
        FakeServer(transport, tls=server_tls(transport, certificates)) as server,
        RecommenderClient(server.target, model="m", transport=transport, timeout=2, retry=None) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.recommend("ann")


@pytest.mark.slow
@pytest.mark.smoke
def test_deadlines_hold_over_tls(make, transport, certificates):
    slow = FakeServer(transport, lambda number, seen: Reply(delay=5), tls=server_tls(transport, certificates))
    with (
        slow as server,
        make(server.target, timeout=0.3, ca=certificates / "ca.pem") as client,
        pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"),
    ):
        client.recommend("ann")


def test_https_targets():
    with RecommenderClient("https://localhost:1", model="m", transport="rest") as client:
        assert client.target == "localhost:1"
    with pytest.raises(InvalidRequest, match="with tls it is https://"):
        RecommenderClient("http://localhost:1", model="m", transport="rest", tls=Tls())


def test_files_that_are_wrong(certificates, tmp_path):
    with pytest.raises(InvalidRequest, match="go together"):
        Tls(certificate="client.pem")
    with pytest.raises(InvalidRequest, match=r"tls: ca='/no/such\.pem' can't be read: No such file"):
        RecommenderClient("localhost:1", model="m", tls=Tls(ca="/no/such.pem"))
    (tmp_path / "empty.pem").write_text("")
    for wrong in (
        Tls(ca=str(tmp_path / "empty.pem")),
        Tls(certificate=str(certificates / "client.pem"), key=str(certificates / "ca.key")),
    ):
        for transport in ("grpc", "rest"):
            with pytest.raises(InvalidRequest, match="PEM files that go together"):
                RecommenderClient("localhost:1", model="m", transport=transport, tls=wrong)
