"""TLS and client certificates on the port and on a UNIX socket; plain text, strangers and wrong names are refused."""

from __future__ import annotations

import datetime
import ipaddress
from types import SimpleNamespace

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server.grpc_service import GrpcServer
from tests.serving.in_process import serve
from tests.serving.server.asking import predict_request

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

REQUEST = predict_request("double", x=[[1.0, 2.0]])


def certificate(name: str, issuer=None):
    """A certificate and its key: its own issuer, or of one that another call made."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
    )
    signed = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SimpleNamespace(subject=subject, key=key, pem=signed.public_bytes(pem), private=private)


AUTHORITY = certificate("authority")
SERVER = certificate("recommender.example", AUTHORITY)
CLIENT = certificate("client", AUTHORITY)
STRANGER = certificate("stranger", certificate("another authority"))


@pytest.fixture(scope="module")
def servers(servable, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    credentials = grpc.ssl_server_credentials([(SERVER.private, SERVER.pem)], AUTHORITY.pem, require_client_auth=True)
    path = str(folder / "grpc.sock")
    with serve(servable, folder, grpc={"credentials": credentials, "socket_path": path}) as found:
        found.socket_target = f"unix:{path}"
        yield found


def ask(target, credentials, **options):
    """The answer's numbers; UNAVAILABLE if there is no connection."""
    channel = (
        grpc.insecure_channel(target)
        if credentials is None
        else grpc.secure_channel(target, credentials, options=list(options.items()))
    )
    with channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return list(stub.Predict(REQUEST, timeout=20).outputs["y"].float_val)


@pytest.mark.parametrize("target", ["grpc_target", "socket_target"])
def test_client_certificates(servers, target):
    address = getattr(servers, target)
    name = {"grpc.ssl_target_name_override": "recommender.example"}
    good = grpc.ssl_channel_credentials(AUTHORITY.pem, CLIENT.private, CLIENT.pem)
    assert ask(address, good, **name) == [2, 4]
    for wrong in (
        None,  # plain text
        grpc.ssl_channel_credentials(AUTHORITY.pem),  # no certificate
        grpc.ssl_channel_credentials(AUTHORITY.pem, STRANGER.private, STRANGER.pem),
        grpc.ssl_channel_credentials(STRANGER.pem, CLIENT.private, CLIENT.pem),  # trusts another authority
    ):
        with pytest.raises(grpc.RpcError) as error:
            ask(address, wrong, **(name if wrong else {}))
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as error:
        ask(address, good, **{"grpc.ssl_target_name_override": "another.example"})
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_socket_without_tls_or_port(servable, tmp_path):
    path = tmp_path / "grpc.sock"
    with serve(servable, tmp_path, grpc={"port": None, "socket_path": str(path)}) as found:
        assert found.grpc_target == "127.0.0.1:None"
        assert ask(f"unix:{path}", None) == [2, 4]


def test_a_socket_that_cannot_be(tmp_path):
    core = SimpleNamespace(serves=lambda: True)
    path = str(tmp_path / "nowhere" / "grpc.sock")
    with pytest.raises(OSError, match="nowhere"):
        GrpcServer(core, host="127.0.0.1", port=0, socket_path=path, max_threads=1, max_message_bytes=1000)
