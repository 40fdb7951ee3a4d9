"""Driver of Champion: makes the cache follow the serving base path."""

from __future__ import annotations

from tfx.orchestration.portable import data_types
from tfx.types import artifact_utils

from components.champion.champion import find_champion
from components.drivers.exec_properties import ExecPropertiesDriver


class Driver(ExecPropertiesDriver):
    """Finds the champion; where no driver runs, the executor does."""

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns the champion's version and fingerprint, empty strings without one."""
        properties = execution_info.exec_properties
        candidate = artifact_utils.get_single_instance(execution_info.input_dict["model"])
        champion = find_champion(candidate.uri, properties["base_path"], properties["model_name"])
        return {
            "champion_version": str(champion.number) if champion else "",
            "champion_fingerprint": champion.fingerprint if champion else "",
        }
