"""Executor of Champion."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import versions
from components.artifacts import Artifacts
from components.champion.champion import (
    QUERIES,
    copy_champion,
    copy_judged,
    find_champion,
)
from components.examples.linking import link_split


class Executor(base_executor.BaseExecutor):
    """Copies the champion, if there is one, into the output artifact."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Copies the champion; see `components.champion.component.Champion` for inputs and outputs."""
        candidate = artifact_utils.get_single_instance(input_dict["model"])
        output = artifact_utils.get_single_instance(output_dict["champion"])
        queries = artifact_utils.get_single_instance(output_dict["queries"])
        queries.split_names = artifact_utils.encode_split_names([QUERIES])
        examples = exec_properties.get("champion_examples")
        if examples:  # what was judged by stays with the run that did
            link_split(examples, QUERIES, queries.uri, QUERIES)
        champion = self._champion(candidate.uri, exec_properties)
        if champion is None:
            output.set_string_custom_property("summary", "none: first version")
            return
        summary = f"version {champion.number}"
        if not versions.release(champion.path).get("judged"):
            copy_champion(champion, output.uri)
        elif copy_judged(exec_properties.get("champion_judged") or "", champion, output.uri):
            summary += ", as it was judged: what it serves has seen the queries"
        else:
            summary += ", by its lead alone: it has seen the queries, and the model that was judged for it is gone"
        output.set_string_custom_property("summary", summary)
        output.set_string_custom_property("version", str(champion.number))
        output.set_string_custom_property("fingerprint", champion.fingerprint)

    def _champion(self, candidate_uri: str, exec_properties: dict[str, Any]) -> versions.Version | None:
        base_path, model_name = exec_properties["base_path"], exec_properties["model_name"]
        version = exec_properties.get("champion_version")
        if version is None:
            return find_champion(candidate_uri, base_path, model_name, bool(exec_properties.get("goes_on")))
        if not version:
            return None
        # The driver's find, not a newer one, since the cache will remember it as the answer to that.
        number, fingerprint = int(version), exec_properties["champion_fingerprint"]
        return versions.Version(number, versions.model_dir(base_path, model_name) / version, fingerprint)
