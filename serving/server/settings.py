"""The files that flags name: text protobufs as tensorflow_model_server reads them."""

from __future__ import annotations

import logging
import os
import ssl
import stat
import tempfile
from typing import Any, Optional, TypeVar, Union

import grpc
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.protos import server_config_pb2
from serving.server import metrics
from serving.stores import ObjectPath, as_path, is_object

_LOGGER = logging.getLogger("serving.server")
_MAX_BATCH_SIZE = 1000  # TensorFlow Serving's default
_MODEL_BATCHING_FILE = "batching_params.pbtxt"

_Message = TypeVar("_Message", bound=Any)


class SettingsError(Exception):
    """A file of settings can't be used; the message names it, the place and the fix."""


def read(path: str, message: _Message) -> _Message:
    """Parses a file into `message` and returns it.

    Raises:
        SettingsError: it can't be read, isn't text, or isn't such a message.
    """
    try:
        text_format.Parse(as_path(path).read_text("utf-8"), message)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text") from None
    except text_format.ParseError as error:  # starts with line and column
        name = message.DESCRIPTOR.name
        raise SettingsError(f"{path}:{error}; it has to be a {name} in protobuf's text format") from None
    return message


def written(path: str) -> Union[str, tuple[int, int, int]]:
    """What is another one once a file was written again.

    Raises:
        SettingsError: there is none, or it is something else, such as a pipe, which might never end.
    """
    try:
        if is_object(path):
            info = ObjectPath(path).info()
            if info is None:
                raise SettingsError(f"{path}: no such object")
            return info.tag
        found = os.stat(path)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{path}: not a regular file")
    return found.st_mtime_ns, found.st_size, found.st_ino


def model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads --model_config_file."""
    return read(path, model_server_config_pb2.ModelServerConfig())


def single_model(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """The config that --model_name and --model_base_path stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    path = base_path if is_object(base_path) else os.path.abspath(base_path)
    config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    return config


def batching_parameters(path: str) -> server_config_pb2.BatchingParameters:
    """Reads --batching_parameters_file; without a path all is TensorFlow Serving's default.

    Raises:
        SettingsError: also for what TensorFlow Serving refuses when it loads a model.
    """
    parameters = server_config_pb2.BatchingParameters()
    if not path:
        parameters.thread_pool_name.value = "model_server_batch_threads"
        return parameters
    read(path, parameters)
    for field, value in parameters.ListFields():
        least = 0 if field.name == "batch_timeout_micros" else 1
        if field.message_type and field.message_type.name == "Int64Value" and value.value < least:
            raise SettingsError(f"{path}: {field.name} is {value.value}; it has to be at least {least}")
    sizes = list(parameters.allowed_batch_sizes)
    largest = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else _MAX_BATCH_SIZE
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
        raise SettingsError(
            f"{path}: allowed_batch_sizes {sizes} have to be positive, to increase, and to end with max_batch_size,"
            f" {largest}"
        )
    return parameters


def model_batching_parameters(
    model_path: str, common: server_config_pb2.BatchingParameters
) -> Optional[server_config_pb2.BatchingParameters]:
    """A version's own parameters, for --enable_per_model_batching_parameters; None: it isn't batched.

    The threads are the common ones, as in TensorFlow Serving, whose models share them.
    """
    path = os.path.join(model_path, _MODEL_BATCHING_FILE)
    if not os.path.exists(path):
        return None
    parameters = batching_parameters(path)
    for name in ("num_batch_threads", "thread_pool_name"):
        parameters.ClearField(name)
        if common.HasField(name):
            getattr(parameters, name).CopyFrom(getattr(common, name))
    return parameters


def metrics_path(path: str) -> Optional[str]:
    """Reads --monitoring_config_file: where the metrics' page is; None: there is none."""
    prometheus = read(path, server_config_pb2.MonitoringConfig()).prometheus_config
    if not prometheus.enable:
        return None
    if prometheus.path and not prometheus.path.startswith("/"):
        raise SettingsError(f"{path}: prometheus_config.path is {prometheus.path}; it has to begin with /")
    return prometheus.path or metrics.DEFAULT_PATH


def secret(path: str) -> bytes:
    """Reads --answer_log_key_file: what it holds, without white space around it.

    Raises:
        SettingsError: it can't be read, or it is empty.
    """
    try:
        with open(path, "rb") as file:
            found = file.read().strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    if not found:
        raise SettingsError(f"{path}: it is empty; it has to hold a secret")
    return found


def server_credentials(path: str, alts: bool = False) -> Optional[grpc.ServerCredentials]:
    """Reads --ssl_config_file: key and certificate of the server, and whose clients it trusts; without it None.

    With --use_alts_credentials it doesn't count, as in TensorFlow Serving.

    What is written there later is taken on with the next connection, but for `client_verify`; what can't be used
    changes nothing. If all may read the file, with its private key, that is said in the log.
    """
    if alts:
        return grpc.alts_server_credentials()
    if not path:
        return None
    file = _SslFile(path)
    return grpc.dynamic_ssl_server_credentials(file.certificates, file.look, file.verifies)


class _SslFile:
    """An SSLConfig that may be written anew."""

    def __init__(self, path: str):
        self._path = path
        self._written = written(path)
        config = _ssl_config(path)
        self.verifies = config.client_verify
        self.certificates = _certificates(config)
        self._told = ""
        self._warn_of_readers()

    def look(self) -> grpc.ServerCertificateConfiguration:
        """What gRPC asks before each handshake: the certificates, those of the file if it was written since.

        None, for none that are new, would leave a second port without any.
        """
        try:
            found = written(self._path)
            if found != self._written:
                config = _ssl_config(self._path)
                self._written, self._told, self.certificates = found, "", _certificates(config)
                _LOGGER.info("%s was written anew: its certificates are used from now on", self._path)
                self._warn_of_readers()
                if config.client_verify != self.verifies:
                    _LOGGER.warning("%s: client_verify changes with a restart only", self._path)
        except Exception as error:  # any: gRPC would refuse the connection
            if str(error) != self._told:
                self._told = str(error)
                known = isinstance(error, SettingsError)
                _LOGGER.error("%s changes nothing: %s", self._path, error, exc_info=None if known else error)
        return self.certificates

    def _warn_of_readers(self) -> None:
        if os.stat(self._path).st_mode & stat.S_IROTH:
            _LOGGER.warning("%s has a private key, and all may read it: chmod o-r %s", self._path, self._path)


def _ssl_config(path: str) -> server_config_pb2.SSLConfig:
    config = read(path, server_config_pb2.SSLConfig())
    for name in ("server_key", "server_cert", *(["custom_ca"] if config.client_verify else [])):
        if not getattr(config, name):
            raise SettingsError(f"{path}: {name} is missing; give the PEM text itself, line breaks as \\n")
    _check_certificates(path, config)
    return config


def _certificates(config: server_config_pb2.SSLConfig) -> grpc.ServerCertificateConfiguration:
    pair = config.server_key.encode(), config.server_cert.encode()
    return grpc.ssl_server_certificate_configuration([pair], config.custom_ca.encode() or None)


def _check_certificates(path: str, config: server_config_pb2.SSLConfig) -> None:
    """Refuses what gRPC would only answer with a port that can't be opened."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:  # the module takes key and certificate from files only
        file.write(f"{config.server_key}\n{config.server_cert}\n")
        file.flush()
        try:
            context.load_cert_chain(file.name, password="")
        except ssl.SSLError as error:
            raise SettingsError(f"{path}: server_key and server_cert are no pair in PEM: {error}") from None
    try:
        if config.custom_ca:
            context.load_verify_locations(cadata=config.custom_ca)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"{path}: custom_ca is no certificate in PEM: {error}") from None
