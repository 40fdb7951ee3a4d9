"""Driver of Champion: makes the cache follow the serving base path."""

from __future__ import annotations

from tfx.dsl.io import fileio
from tfx.orchestration.portable import data_types
from tfx.types import artifact_utils

from components.champion.champion import find_champion
from components.drivers.exec_properties import ExecPropertiesDriver
from components.drivers.lineage import pushed_from


class Driver(ExecPropertiesDriver):
    """Finds the champion; where no driver runs, the executor does."""

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns the champion's version and fingerprint, and where the Examples are that it was made from, and the
        model that was judged for it; empty strings without one, and where they are gone."""
        properties = execution_info.exec_properties
        candidate = artifact_utils.get_single_instance(execution_info.input_dict["model"])
        champion = find_champion(
            candidate.uri, properties["base_path"], properties["model_name"], bool(properties.get("goes_on"))
        )

        def made_from(key: str) -> str:
            handle = self.metadata_handle
            uri = pushed_from(handle, str(champion.path), key) if champion and handle else ""
            return uri if fileio.exists(uri) else ""

        return {
            "champion_version": str(champion.number) if champion else "",
            "champion_fingerprint": champion.fingerprint if champion else "",
            "champion_examples": made_from("examples"),
            "champion_judged": made_from("judged"),
        }
