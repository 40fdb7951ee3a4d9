"""Executor of Champion."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import object_store, versions
from components.artifacts import Artifacts
from components.champion.champion import Version, copy_champion, find_champion


class Executor(base_executor.BaseExecutor):
    """Copies the champion, if there is one, into the output artifact."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Copies the champion; see `components.champion.component.Champion` for inputs and outputs."""
        candidate = artifact_utils.get_single_instance(input_dict["model"])
        output = artifact_utils.get_single_instance(output_dict["champion"])
        champion = self._champion(candidate.uri, exec_properties)
        if champion is None:
            output.set_string_custom_property("summary", "none: first version")
            return
        copy_champion(champion, output.uri)
        output.set_string_custom_property("summary", f"version {champion.number}")
        output.set_string_custom_property("version", str(champion.number))
        output.set_string_custom_property("fingerprint", champion.fingerprint)

    def _champion(self, candidate_uri: str, exec_properties: dict[str, Any]) -> Version | None:
        base_path, model_name = exec_properties["base_path"], exec_properties["model_name"]
        version = exec_properties.get("champion_version")
        if version is None:
            return find_champion(candidate_uri, base_path, model_name)
        if not version:
            return None
        # The driver's find, not a newer one, since the cache will remember it as the answer to that.
        number, fingerprint = int(version), exec_properties["champion_fingerprint"]
        if object_store.is_uri(base_path):
            uri = f"{object_store.model_dir(base_path, model_name)}/{version}"
            return object_store.Version(number, uri, fingerprint)
        return versions.Version(number, versions.model_dir(base_path, model_name) / version, fingerprint)
