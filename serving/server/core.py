"""What the gRPC and the REST side share: finds the model version that a request names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Optional

from serving.server.servable import Servable
from serving.server.status import invalid, not_found
from serving.server.versions import VersionManager, VersionState, servable_not_found


class ServerCore:
    """Knows the models by name; `spec` of all methods is a `tensorflow.serving.ModelSpec`."""

    def __init__(self, models: Mapping[str, VersionManager[Servable]]):
        self._models = dict(models)

    def acquire(self, spec: Any) -> AbstractContextManager[tuple[int, Servable]]:
        """Lends the version that the spec means and its number, for one request.

        Raises:
            StatusError: NOT_FOUND, no such model or version is loaded; INVALID_ARGUMENT, no such label.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        version = _version(spec)
        manager = self._models.get(spec.name)
        if manager is None:
            raise servable_not_found(spec.name, version)
        return manager.acquire(version)

    def states(self, spec: Any) -> list[VersionState]:
        """Returns the states of the model's versions, or of the one that the spec names, newest first.

        Raises:
            StatusError: NOT_FOUND, no such model or version has been seen.
        """
        manager = self._models.get(spec.name)
        states = [] if manager is None else manager.states()
        if not states:
            raise not_found(f"Could not find any versions of model {spec.name}")
        version = _version(spec)
        if version is not None:
            states = [state for state in states if state.version == version]
            if not states:
                raise not_found(f"Could not find version {version} of model {spec.name}")
        return states

    def serves(self) -> bool:
        """Whether every model has a version that answers."""
        return all(manager.current_version is not None for manager in self._models.values())


def _version(spec: Any) -> Optional[int]:
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return spec.version.value if choice == "version" else None
