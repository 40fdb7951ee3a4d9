"""The model manager: which models there are, by config file or reload, and which version a request means."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable, Optional

import grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.server import metrics
from serving.server.loaders import Loaders
from serving.server.status import StatusError, invalid, not_found
from serving.server.versions import VersionManager, VersionState, servable_not_found, unknown_label
from serving.stores import is_object

if TYPE_CHECKING:
    from serving.server.servable import Servable

_LOGGER = logging.getLogger("serving.server")
_PLATFORM = "tensorflow"
_MAX_WAIT_SECONDS = 600.0
"""A reload waits so long at most: a new model may never get a version, and the request holds a thread."""
_MAX_REMEMBERED = 50
"""Removed models whose versions' end is remembered for GetModelStatus."""


class ServerCore:
    """Knows the models by name; `spec` of all methods is a `tensorflow.serving.ModelSpec`.

    One thread looks at the disk and starts what is due; loads and unloads run in pools. One lock, never held over
    anything slow, guards what requests see: so a reload moves all labels of all models at once, and none of them ever
    points to a version that has just gone.

    Args:
        load: loads and warms up a version's folder; any exception means that it can't be served.
        poll_seconds: between two looks at the base paths; 0 looks once for each config.
        load_threads: loads at the same time; 0 is 1.
        unload_threads: unloads at the same time; 0 is 1.
        max_load_retries: see `VersionManager`.
        load_retry_seconds: see `VersionManager`.
        labels_before_versions: a label that is new may point to a version that isn't loaded yet.
        on_serving: called from that thread whenever `serves` has changed.
    """

    def __init__(
        self,
        load: Callable[[str], Servable],
        *,
        poll_seconds: float = 1.0,
        load_threads: int = 0,
        unload_threads: int = 0,
        max_load_retries: int = 5,
        load_retry_seconds: float = 60.0,
        labels_before_versions: bool = False,
        on_serving: Callable[[], None] = lambda: None,
    ):
        self._load = load
        self._poll_seconds = poll_seconds
        self._loaders = Loaders(load_threads or 1)
        self._unloaders = ThreadPoolExecutor(unload_threads or 1, thread_name_prefix="unload")
        self._max_load_retries = max_load_retries
        self._load_retry_seconds = load_retry_seconds
        self._labels_before_versions = labels_before_versions
        self._on_serving = on_serving
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._stopping = False
        self._told_serving = False
        self._config = model_server_config_pb2.ModelServerConfig()
        self.generation = 0
        """Grows with each config that is taken on."""
        self._models: dict[str, VersionManager[Servable]] = {}  # replaced as a whole, so that readers need no lock
        self._thread = threading.Thread(target=self._look_after, name="versions", daemon=True)

    def start(self) -> None:
        """Starts to look for versions."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Ends all models and waits up to `seconds` until they are unloaded, which the requests on them hold up."""
        with self._changed:
            self._stopping = True
            for manager in self._models.values():
                manager.configure(None)
            self._wake.set()
            self._changed.wait_for(lambda: not any(m.retiring for m in self._models.values()), seconds)

    def acquire(self, spec: Any) -> AbstractContextManager[tuple[int, Servable]]:
        """Lends the version that the spec means and its number, for one request.

        Raises:
            StatusError: NOT_FOUND, no such model or version is loaded; INVALID_ARGUMENT, no such label.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        manager = self._models.get(spec.name)
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            if manager is None:
                raise unknown_label(spec.version_label)
            return manager.acquire(label=spec.version_label)
        version = spec.version.value if choice else None
        if manager is None:
            raise servable_not_found(spec.name, version)
        return manager.acquire(version)

    def states(self, spec: Any) -> list[VersionState]:
        """Returns the states of the model's versions, or of the one that the spec names, newest first.

        A label in the spec counts for nothing, as in TensorFlow Serving.

        Raises:
            StatusError: NOT_FOUND, no such model or version has been seen.
        """
        manager = self._models.get(spec.name)
        states = [] if manager is None else manager.states()
        if spec.HasField("version"):
            states = [state for state in states if state.version == spec.version.value]
            if not states:
                raise not_found(f"Could not find version {spec.version.value} of model {spec.name}")
        if not states:
            raise not_found(f"Could not find any versions of model {spec.name}")
        return states

    def serves(self) -> bool:
        """Whether every model has a version that answers."""
        return all(manager.current_version is not None for manager in self.models())

    def models(self) -> list[VersionManager[Servable]]:
        """The models of the config."""
        return [manager for manager in self._models.values() if manager.configured]

    def apply(
        self, config: model_server_config_pb2.ModelServerConfig, since: Optional[int] = None
    ) -> Optional[list[str]]:
        """Takes a config on and returns at once, with the names of the models that are new; an empty one is ignored.

        Args:
            config: all models.
            since: take it on only if this is still the `generation`.

        Returns:
            None if it isn't, and nothing has changed.

        Raises:
            StatusError: the config is refused, and nothing has changed. INVALID_ARGUMENT, it is wrong in itself;
                FAILED_PRECONDITION, a label points to a version that isn't available, or it isn't a list of models.
        """
        kind = config.WhichOneof("config")
        if kind is None:
            return []
        if kind != "model_config_list":
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to"
                " another.",
            )
        wanted = _by_name(config.model_config_list.config)
        with self._changed:
            if self._stopping:
                raise StatusError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
            if since not in (None, self.generation):
                return None
            self._check_labels(wanted)
            metrics.serves(wanted)
            self.generation += 1
            old = [name for name, manager in self._models.items() if manager.configured]
            new = [name for name in wanted if name not in old]
            models = {name: manager for name, manager in self._models.items() if name in wanted or manager.configured}
            ended = [name for name in self._models if name not in models][-_MAX_REMEMBERED:]
            models.update({name: self._models[name] for name in ended})
            for name in new:
                models.setdefault(name, self._manager(name))
            self._models = models
            for name, manager in models.items():
                if name in wanted or manager.configured:
                    manager.configure(wanted.get(name))
            different = config != self._config
            self._config.CopyFrom(config)
        self._wake.set()
        if different:
            _LOGGER.info("models: %s", ", ".join(sorted(wanted)) or "none")
        return new

    def reload(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        timeout: Optional[float] = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Takes a config on and waits until the versions that it wants are available or have failed.

        Args:
            config: all models; those that it lacks are removed.
            timeout: seconds to wait, at most ten minutes.
            given_up: whether nobody waits any more, looked at on `remind`.

        Raises:
            StatusError: the config is refused, see `apply`; UNKNOWN, a new model has no version that can be loaded;
                DEADLINE_EXCEEDED, the config is taken on but not all of it is loaded yet.
        """
        new = self.apply(config) or []
        seconds = _MAX_WAIT_SECONDS if timeout is None else min(timeout, _MAX_WAIT_SECONDS)
        if not self.wait(new, seconds, given_up) or given_up():
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "not all versions of the new config are loaded yet")
        models = self._models
        failed = [name for name in new if name not in models or models[name].current_version is None]
        if failed:
            causes = "".join(f"{{{self._cause(name)}}}, " for name in failed)
            raise StatusError(grpc.StatusCode.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{causes}}}")

    def remind(self) -> None:
        """Lets those that wait look whether they are given up."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, names: Sequence[str], seconds: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Waits until all wanted versions are available or have failed; tells whether that is so, or it is given up.

        Args:
            names: models that must have had a version on disk, too.
            seconds: how long to wait.
            given_up: see `reload`.
        """

        def ready() -> bool:
            models = self._models
            return given_up() or (
                all(manager.settled for manager in models.values())
                and all(manager.seen for name in names if (manager := models.get(name)))
            )

        with self._changed:
            return self._changed.wait_for(ready, seconds)

    def _manager(self, name: str) -> VersionManager[Servable]:
        return VersionManager(
            name,
            self._load,
            lock=self._lock,
            on_change=self._note,
            loaders=self._loaders,
            unloaders=self._unloaders,
            max_retries=self._max_load_retries,
            retry_seconds=self._load_retry_seconds,
        )

    def _note(self) -> None:
        self._changed.notify_all()
        self._wake.set()

    def _check_labels(self, wanted: dict[str, Any]) -> None:
        for name, config in wanted.items():
            manager = self._models.get(name)
            for label, version in config.version_labels.items():
                if manager is not None and manager.is_available(version):
                    continue
                known = None if manager is None else manager.label(label)
                if not self._labels_before_versions or known not in (None, version):
                    raise StatusError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {name}, which is not currently"
                        " available for inference",
                    )

    def _cause(self, name: str) -> str:
        """Why a model is not available, as TensorFlow Serving words it."""
        manager = self._models.get(name)
        for state in [] if manager is None else manager.states():
            error = f" due to error: {state.code.name}: {state.message}" if state.message else ""
            return f"{{name: {name} version: {state.version}}}{error}"
        return f"{{name: {name}}}"

    def _look_after(self) -> None:
        due = 0.0
        while not self._stopping:
            self._wake.clear()  # first, so that what changes meanwhile is seen in the next round
            look = time.monotonic() >= due
            managers = list(self._models.values())
            work = [manager.poll if look or manager.unseen else manager.tick for manager in managers]
            for step in [*work, self._tell_serving]:
                try:
                    step()
                except Exception:
                    _LOGGER.exception("looking for versions failed")
            if look:
                due = time.monotonic() + (self._poll_seconds or math.inf)
            left = min([due, self._loaders.watch(), *(manager.due for manager in managers)]) - time.monotonic()
            self._wake.wait(None if math.isinf(left) else max(left, 0.0))

    def _tell_serving(self) -> None:
        if self._told_serving != self.serves():
            self._told_serving = not self._told_serving
            self._on_serving()


def _by_name(configs: Sequence[Any]) -> dict[str, Any]:
    """The models by name, with TensorFlow Serving's objections."""
    found: dict[str, Any] = {}
    for config in configs:
        name = config.name
        if not name:
            raise invalid("Illegal to list a model without a name")
        if name in found:
            raise invalid(f"Illegal to list model {name} multiple times in config list")
        found[name] = config
    for name, config in found.items():
        if "://" in config.base_path and not is_object(config.base_path):
            raise invalid(
                f"Model {name} is at {config.base_path}, but the embedded server reads local folders, s3:// and gs://"
            )
        if not is_object(config.base_path) and not os.path.isabs(config.base_path):
            raise invalid(f"Expected model {name} to have an absolute path or URI; got base_path()={config.base_path}")
        if config.model_type and config.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and"
                f" ModelServerConfig::model_platform, model name is {name}"
            )
        if config.model_type == model_server_config_pb2.OTHER:
            raise invalid(f"ModelServerConfig::model_type choice {config.model_type} not supported.")
        if not config.model_type and not config.model_platform:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"
                f" ModelServerConfig::model_platform, model name is {name}"
            )
        if config.model_platform not in ("", _PLATFORM):
            raise invalid(f"Model {name} requests unsupported platform {config.model_platform}")
    return found
