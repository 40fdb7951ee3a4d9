"""TLS and client certificates on the port and on a UNIX socket; plain text, strangers and wrong names are refused."""

from __future__ import annotations

import datetime
import ipaddress
import json
import logging
from types import SimpleNamespace

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.files import write_atomically
from serving.server import settings
from serving.server.grpc_service import Admin, GrpcServer
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


def ssl_config(path, server, authority=None):
    """Writes an SSLConfig at once; the clients of an authority alone may ask if one is given."""
    fields = {"server_key": server.private, "server_cert": server.pem}
    if authority is not None:
        fields["custom_ca"] = authority.pem
    text = "\n".join(f"{name}: {json.dumps(value.decode())}" for name, value in fields.items())
    write_atomically(path, f"{text}\nclient_verify: {str(authority is not None).lower()}\n")
    path.chmod(0o600)


def test_certificates_are_taken_up_anew(servable, tmp_path, caplog):
    caplog.set_level(logging.INFO, "serving.server")
    path = tmp_path / "ssl.config"
    ssl_config(path, SERVER, AUTHORITY)
    credentials = settings.server_credentials(str(path))
    mine = grpc.ssl_channel_credentials(AUTHORITY.pem, CLIENT.private, CLIENT.pem)

    def asked(target, name, credentials=mine):
        pool = {"grpc.ssl_target_name_override": name, "grpc.use_local_subchannel_pool": 1}
        try:
            return ask(target, credentials, **pool)
        except grpc.RpcError as error:
            return error.code().name

    socket = str(tmp_path / "socket")
    admin = Admin("127.0.0.1", 0, credentials)
    with serve(servable, tmp_path, grpc={"credentials": credentials, "admin": admin, "socket_path": socket}) as found:
        target = found.grpc_target
        for another in (found.admin_target, f"unix:{socket}"):
            assert asked(another, "recommender.example") == [2, 4]
        with grpc.secure_channel(target, mine, [("grpc.ssl_target_name_override", "recommender.example")]) as connected:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(connected).Predict
            assert list(predict(REQUEST, timeout=20).outputs["y"].float_val) == [2, 4]
            ssl_config(path, certificate("newer.example", AUTHORITY), AUTHORITY)
            assert asked(target, "newer.example") == [2, 4]
            assert asked(target, "recommender.example") == "UNAVAILABLE"
            assert asked(found.admin_target, "newer.example") == [2, 4]
            assert list(predict(REQUEST, timeout=20).outputs["y"].float_val) == [2, 4], "a connection goes on"
        assert "its certificates are used from now on" in caplog.text

        write_atomically(path, "server_key: 5")
        path.chmod(0o600)
        for _ in range(2):
            assert asked(target, "newer.example") == [2, 4]
        path.unlink()
        assert asked(target, "newer.example") == [2, 4]
        assert [record.getMessage().count("changes nothing") for record in caplog.records].count(1) == 2
        assert "all may read it" not in caplog.text

        another = certificate("another authority")
        ssl_config(path, SERVER, another)
        path.chmod(0o644)
        assert asked(target, "recommender.example") == "UNAVAILABLE"
        theirs = certificate("client", another)
        assert asked(
            target, "recommender.example", grpc.ssl_channel_credentials(AUTHORITY.pem, theirs.private, theirs.pem)
        ) == [2, 4]
        assert caplog.text.count("private key, and all may read it: chmod o-r") == 1
        ssl_config(path, SERVER)
        assert asked(target, "recommender.example") == "UNAVAILABLE"
        assert "client_verify changes with a restart only" in caplog.text


def test_an_admin_port_that_wants_certificates(servable, tmp_path):
    path = tmp_path / "ssl.config"
    ssl_config(path, SERVER, AUTHORITY)
    admin = Admin("127.0.0.1", 0, settings.server_credentials(str(path)))
    with serve(servable, tmp_path, grpc={"admin": admin}) as found:
        assert ask(found.grpc_target, None) == [2, 4]
        name = {"grpc.ssl_target_name_override": "recommender.example"}
        good = grpc.ssl_channel_credentials(AUTHORITY.pem, CLIENT.private, CLIENT.pem)
        assert ask(found.admin_target, good, **name) == [2, 4]
        with pytest.raises(grpc.RpcError) as error:
            ask(found.admin_target, grpc.ssl_channel_credentials(AUTHORITY.pem), **name)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
