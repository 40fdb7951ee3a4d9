"""A model server without models: TensorFlow Serving's rules for configs, labels and states, and made-up answers."""

from __future__ import annotations

import threading
from concurrent import futures
from pathlib import Path
from typing import Any, Optional

import grpc
from google.protobuf import wrappers_pb2

from serving.files import find_versions
from serving.protos import models_config_pb2, serving_pb2
from serving.stores import AnyPath, as_path

ITEMS = [f"i{number:02}" for number in range(20)]
MAX_K = 1_000


def publish(base_path: AnyPath, model: str, version: int, broken: str = "") -> None:
    """Puts a version in place.

    What is `broken` about it: `load`, it can't be loaded; `answers`, it returns what was to be left out; `fails`, it
    fails when there is a history; `reversed`, it finds the last items best.
    """
    path = base_path / model / str(version)
    if isinstance(path, Path):
        path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(broken.encode())


class FakeReplica:
    """A model server as a thread; a context manager.

    The score of item i is `version * 1000 - i`, items of history and exclusions left out. All versions on disk that the
    config wants are loaded at once.

    Args:
        config: the `ModelServerConfig` that it starts with.
        port: 0 picks a free one.
        credentials: for TLS.
        labels_first: TensorFlow Serving's --allow_version_labels_for_unavailable_models.
    """

    def __init__(self, config: Any, labels_first: bool = False, port: int = 0, credentials: Any = None):
        self.config = models_config_pb2.ModelServerConfig()
        self.loaded: dict[str, dict[int, str]] = {}
        """Model to version to what is broken about it."""
        self.failed: dict[str, set[int]] = {}
        self.labels: dict[str, dict[str, int]] = {}
        self.reloads = 0
        self.refuse_reload: Optional[int] = None
        """Which reload from now on is refused: 0 is the next one."""
        self.closed = False
        """Takes no config here."""
        self.deaf = False
        """Takes on every config but its labels, as nobody should."""
        self.violations: list[str] = []
        """Moments at which a label pointed to a version that isn't loaded."""
        self._lock = threading.RLock()
        self._labels_first = True  # at the start
        self.reload(config)
        self._labels_first = labels_first
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        where = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, credentials)
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        self._server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> FakeReplica:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def available(self, model: str) -> set[int]:
        return set(self.loaded.get(model, {}))

    def reload(self, config: Any) -> None:
        """Takes on a config as TensorFlow Serving does; raises ValueError if it is refused."""
        with self._lock:
            if self.refuse_reload is not None:
                self.refuse_reload -= 1
                if self.refuse_reload < 0:
                    self.refuse_reload = None
                    raise ValueError("refused for the test")
            labels: dict[str, dict[str, int]] = {}
            for entry in config.model_config_list.config:
                old = self.labels.get(entry.name, {})
                for label, version in entry.version_labels.items():
                    fine = version in self.available(entry.name)
                    if not fine and not (self._labels_first and old.get(label, version) == version):
                        raise ValueError(
                            f"Request to assign label to version {version} of model {entry.name}, which is not"
                            " currently available for inference"
                        )
                labels[entry.name] = dict(entry.version_labels)
            self.reloads += 1
            self.config.CopyFrom(config)
            before = {(m, v) for m, of in self.labels.items() for v in of.values() if v in self.available(m)}
            self.labels = self.labels if self.deaf else labels
            self._check("after the labels moved")
            self.poll()
            self._check("after versions were loaded and unloaded")
            gone = {(m, v) for m, v in before if v not in self.available(m)}
            if gone:  # a request that had found its version by the label may just be on its way there
                self.violations.append(f"label moved and version unloaded in one step: {gone}")

    def poll(self) -> None:
        """Looks at the disk."""
        loaded, self.failed = {}, {}
        for entry in self.config.model_config_list.config:
            there = find_versions(as_path(entry.base_path))
            found = {number: (path / "saved_model.pb").read_text() for number, path in there.items()}
            policy = entry.model_version_policy
            if policy.WhichOneof("policy_choice") == "specific":
                wanted = set(policy.specific.versions) & set(found)
            else:
                wanted = {max(found)}
            loaded[entry.name] = {v: found[v] for v in wanted if found[v] != "load"}
            self.failed[entry.name] = wanted - set(loaded[entry.name])
        self.loaded = loaded

    def _check(self, when: str) -> None:
        for model, labels in self.labels.items():
            for label, version in labels.items():
                if version not in self.available(model) and not self._labels_first:
                    self.violations.append(f"{when}: {label} of {model} points to {version}")

    def version_of(self, spec: Any) -> int:
        with self._lock:
            choice = spec.WhichOneof("version_choice")
            if choice == "version_label":
                if spec.version_label not in self.labels.get(spec.name, {}):
                    raise KeyError(f"Unrecognized servable version label: {spec.version_label}")
                version = self.labels[spec.name][spec.version_label]
            else:
                version = spec.version.value if choice else max(self.available(spec.name), default=-1)
            if version not in self.available(spec.name):
                raise LookupError(f"Servable not found for request: Specific({spec.name}, {version})")
            return version


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, replica: FakeReplica):
        self._replica = replica

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rsplit("/", 1)[1]
        kinds = {
            "HandleReloadConfigRequest": (wrappers_pb2.BytesValue, self._reload),
            "GetModelStatus": (serving_pb2.GetModelStatusRequest, self._status),
            "GetModelMetadata": (serving_pb2.GetModelMetadataRequest, self._metadata),
            "Predict": (serving_pb2.PredictRequest, self._predict),
        }
        message, work = kinds[method]
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: _answer(work, request, context),
            request_deserializer=message.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    def _reload(self, request: Any) -> Any:
        if self._replica.closed:
            raise PermissionError("elsewhere only")
        config = models_config_pb2.ModelServerConfig.FromString(request.value)
        if config.WhichOneof("config") is None:
            raise ValueError("ServerModelConfig type not supported by HandleReloadConfigRequest")
        self._replica.reload(config)
        return wrappers_pb2.BytesValue()

    def _status(self, request: Any) -> Any:
        replica, name = self._replica, request.model_spec.name
        if not replica.available(name) and not replica.failed.get(name):
            raise LookupError(f"Could not find any versions of model {name}")
        answer = serving_pb2.GetModelStatusResponse()
        for version in replica.available(name):
            answer.model_version_status.add(version=version, state=serving_pb2.ModelVersionStatus.AVAILABLE)
        for version in replica.failed.get(name, ()):
            state = answer.model_version_status.add(version=version, state=serving_pb2.ModelVersionStatus.END)
            state.status.error_code, state.status.error_message = 3, "it is broken"
        return answer

    def _metadata(self, request: Any) -> Any:
        answer = serving_pb2.GetModelMetadataResponse()
        answer.model_spec.name = request.model_spec.name
        answer.model_spec.version.value = self._replica.version_of(request.model_spec)
        answer.metadata["signature_def"].Pack(serving_pb2.SignatureDefMap())
        return answer

    def _predict(self, request: Any) -> Any:
        spec = request.model_spec
        version = self._replica.version_of(spec)
        inputs = {name: _texts(tensor) for name, tensor in request.inputs.items() if name != "k"}
        k = request.inputs["k"].int_val[0]
        if k > MAX_K:
            raise KeyError(f"k must be at most {MAX_K}")
        similar = spec.signature_name == "similar_items"
        left_out = {*inputs["item_id"], *inputs["exclude"]} if similar else {*inputs["history"], *inputs["exclude"]}
        broken = self._replica.loaded[spec.name][version]
        if broken == "answers":
            left_out = set()
        if broken == "fails" and any(inputs.get("history", ())):
            raise LookupError("it fails")
        items = ITEMS[::-1] if broken == "reversed" else ITEMS
        ids = [item for item in items if item not in left_out][:k]
        ids += [""] * (k - len(ids))
        answer = serving_pb2.PredictResponse()
        answer.model_spec.name = spec.name
        answer.model_spec.version.value = version
        _fill(answer.outputs["item_ids"], serving_pb2.DT_STRING, [1, k]).string_val.extend(i.encode() for i in ids)
        scores = [version * 1000.0 - items.index(i) if i else float("-inf") for i in ids]
        _fill(answer.outputs["scores"], serving_pb2.DT_FLOAT, [1, k]).float_val.extend(scores)
        if similar:
            _fill(answer.outputs["known"], serving_pb2.DT_BOOL, [1]).bool_val.append(True)
        else:
            source = b"history" if any(inputs["history"]) else b"popular"
            _fill(answer.outputs["source"], serving_pb2.DT_STRING, [1]).string_val.append(source)
        return answer


def _answer(work: Any, request: Any, context: grpc.ServicerContext) -> Any:
    try:
        return work(request)
    except KeyError as error:
        return context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.args[0])
    except LookupError as error:
        return context.abort(grpc.StatusCode.NOT_FOUND, str(error))
    except PermissionError as error:
        return context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    except ValueError as error:
        return context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))


def _fill(tensor: Any, dtype: int, shape: list[int]) -> Any:
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _texts(tensor: Any) -> list[str]:
    return [value.decode() for value in tensor.string_val]
