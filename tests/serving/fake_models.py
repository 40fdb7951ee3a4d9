"""Models without TensorFlow: a version's folder with a file `model` that says how loading it goes."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2


class FakeModel:
    """Loaded from a folder whose file `model` holds `ok`."""

    def __init__(self, path: str):
        content = Path(path, "model").read_text(encoding="utf-8")
        if content != "ok":
            raise ValueError(f"bad model: {content}")
        self.path = path
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Gate:
    """A `load` that waits: counts who is inside, lets them out by `open`."""

    def __init__(self):
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0

    def __call__(self, path: str) -> FakeModel:
        with self.lock:
            self.inside += 1
        assert self.opened.wait(20)
        return FakeModel(path)


class Later(Executor):
    """Runs nothing until it is told to."""

    def __init__(self):
        self.jobs: list[Any] = []

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.jobs.append(lambda: fn(*args, **kwargs))
        return Future()

    def run(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()


def put(base: Path, name: object, content: str = "ok") -> None:
    folder = base / str(name)
    folder.mkdir(parents=True)
    (folder / "model").write_text(content, encoding="utf-8")


def remove(base: Path, name: object) -> None:
    (base / str(name) / "model").unlink()
    (base / str(name)).rmdir()


def server_config(*models: str) -> model_server_config_pb2.ModelServerConfig:
    """A config of `config { ... }` bodies."""
    text = "".join(f"config {{ {model} model_platform: 'tensorflow' }}" for model in models)
    return text_format.Parse(f"model_config_list {{ {text} }}", model_server_config_pb2.ModelServerConfig())


def labels(**versions: int) -> str:
    return " ".join(f"version_labels {{ key: '{label}' value: {version} }}" for label, version in versions.items())


def model(name: str, base: object, policy: str = "", **labelled: int) -> str:
    """The body of one model."""
    wanted = f"model_version_policy {{ {policy} }}" if policy else ""
    return f"name: '{name}' base_path: '{base}' {wanted} {labels(**labelled)}"
