"""Driver of Guards: makes the cache follow what was pushed last."""

from __future__ import annotations

from tfx.orchestration.portable import data_types

from components.drivers.exec_properties import ExecPropertiesDriver
from components.guards.last_pushed import newest


class Driver(ExecPropertiesDriver):
    """Finds the last pushed version; where no driver runs, the executor does."""

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns `last_pushed`, the version's number, the empty string without one."""
        properties = execution_info.exec_properties
        return {"last_pushed": newest(properties["base_path"], properties["model_name"])}
