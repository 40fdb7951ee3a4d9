"""The files behind the flags: what is in them, and one clear message for each way in which they can be wrong."""

from __future__ import annotations

import shutil
import subprocess

import grpc
import pytest

from serving.protos import server_config_pb2
from serving.server import settings
from serving.server.settings import SettingsError


@pytest.fixture
def written(tmp_path):
    """Writes a file and returns its path."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "file.pbtxt"
        path.write_text(text, encoding=encoding)
        return str(path)

    return write


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Key and certificate of a server."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*made, "-days", "1", "-subj", "/CN=localhost", "-keyout", folder / "key", "-out", folder / "cert"],
        check=True,
        capture_output=True,
    )
    return {"server_key": (folder / "key").read_text(), "server_cert": (folder / "cert").read_text()}


def ssl_text(**fields):
    shown = {
        name: value if value in ("true", "false") else '"' + value.replace("\n", "\\n") + '"'
        for name, value in fields.items()
    }
    return "\n".join(f"{name}: {value}" for name, value in shown.items())


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("SSLConfig", {"server_key": 1, "server_cert": 2, "custom_ca": 3, "client_verify": 4}),
        ("MonitoringConfig", {"prometheus_config": 1}),
        ("PrometheusConfig", {"enable": 1, "path": 2}),
        (
            "BatchingParameters",
            {
                "max_batch_size": 1,
                "batch_timeout_micros": 2,
                "max_enqueued_batches": 3,
                "num_batch_threads": 4,
                "thread_pool_name": 5,
                "allowed_batch_sizes": 6,
                "pad_variable_length_inputs": 7,
                "enable_large_batch_splitting": 8,
                "max_execution_batch_size": 9,
            },
        ),
    ],
)
def test_fields_have_tensorflow_servings_names_and_numbers(message, numbers):
    descriptor = server_config_pb2.DESCRIPTOR.message_types_by_name[message]
    assert {field.name: field.number for field in descriptor.fields} == numbers


def test_models_config(written):
    config = settings.model_config(
        written(
            """
            # with a comment
            model_config_list {
              config {
                name: 'm'
                base_path: "/models/m"
                model_platform: "tensorflow"
                model_version_policy { specific { versions: 1 versions: 2 } }
                version_labels { key: 'stable' value: 1 }
                logging_config { sampling_config { sampling_rate: 0.1 } }
              }
            }
            """
        )
    )
    (model,) = config.model_config_list.config
    assert (model.name, list(model.model_version_policy.specific.versions)) == ("m", [1, 2])
    assert dict(model.version_labels) == {"stable": 1}


def test_a_single_model_has_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (model,) = settings.single_model("m", "models").model_config_list.config
    assert (model.name, model.base_path) == ("m", str(tmp_path / "models"))


def test_files_that_are_not_there(tmp_path):
    for path in (tmp_path / "nope", tmp_path):
        with pytest.raises(SettingsError, match=rf"^{path}: "):
            settings.model_config(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {\n  config {\n    nane: 'm'\n  }\n}", r'file.pbtxt:3:5 : .*no field named "nane"'),
        ("model_config_list {\n  config {", r"file.pbtxt:2:"),
        ('{"model_config_list": []}', r"file.pbtxt:1:1 "),
        ("model_config_list: 3", r"has to be a ModelServerConfig in protobuf's text format"),
        ("\x00", "file.pbtxt:1"),
    ],
)
def test_files_that_do_not_parse(written, text, message):
    with pytest.raises(SettingsError, match=message) as caught:
        settings.model_config(written(text))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(written):
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        settings.model_config(written("é", "latin-1"))


def test_batching_parameters(written):
    parameters = settings.batching_parameters(
        written("max_batch_size { value: 8 } batch_timeout_micros { value: 0 } allowed_batch_sizes: [2, 4, 8]")
    )
    assert (parameters.max_batch_size.value, list(parameters.allowed_batch_sizes)) == (8, [2, 4, 8])
    assert settings.batching_parameters("").thread_pool_name.value == "model_server_batch_threads"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0; it has to be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1; it has to be at least 0"),
        ("allowed_batch_sizes: 2", "end with max_batch_size, 1000"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [2, 2, 4]", "to increase"),
        ("max_batch_size: 4", "BatchingParameters"),
    ],
)
def test_wrong_batching_parameters(written, text, message):
    with pytest.raises(SettingsError, match=message):
        settings.batching_parameters(written(text))


def test_a_versions_own_batching_parameters(tmp_path):
    common = settings.batching_parameters("")
    common.num_batch_threads.value = 3
    assert settings.model_batching_parameters(str(tmp_path), common) is None
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 4 } num_batch_threads { value: 9 }")
    own = settings.model_batching_parameters(str(tmp_path), common)
    assert (own.max_batch_size.value, own.num_batch_threads.value) == (4, 3)
    assert own.thread_pool_name.value == "model_server_batch_threads"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ("prometheus_config { path: '/metrics' }", None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { enable: true path: '/metrics' }", "/metrics"),
    ],
)
def test_monitoring(written, text, path):
    assert settings.metrics_path(written(text)) == path


def test_a_path_of_the_metrics_that_no_request_could_have(written):
    with pytest.raises(SettingsError, match="has to begin with /"):
        settings.metrics_path(written("prometheus_config { enable: true path: 'metrics' }"))


def test_tls(written, pem):
    for more in ({}, {"client_verify": "true", "custom_ca": pem["server_cert"]}):
        assert isinstance(settings.server_credentials(written(ssl_text(**pem, **more))), grpc.ServerCredentials)


def test_without_tls_and_by_alts():
    assert settings.server_credentials("") is None
    assert isinstance(settings.server_credentials("no such file", alts=True), grpc.ServerCredentials)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server_key": ""}, "server_key is missing"),
        ({"server_cert": ""}, "server_cert is missing"),
        ({"client_verify": "true"}, "custom_ca is missing"),
        ({"server_cert": "/etc/ssl/server.crt"}, "server_key and server_cert are no pair in PEM"),
        ({"custom_ca": "/etc/ssl/ca.crt"}, "custom_ca is no certificate in PEM"),
    ],
)
def test_wrong_tls(written, pem, change, message):
    with pytest.raises(SettingsError, match=message):
        settings.server_credentials(written(ssl_text(**{**pem, **change})))
