"""The driver of components whose result never comes from the cache."""

from __future__ import annotations

import time

from tfx.orchestration.portable import data_types

from components.drivers.exec_properties import ExecPropertiesDriver


class AlwaysRunDriver(ExecPropertiesDriver):
    """Makes every run's exec properties different.

    TFX can switch off the cache of a whole pipeline only. Yet whether there is something to push or to promote depends
    on the base path, which others may have changed in any way since, for instance by deleting a version.
    """

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns `asked_at`, nanoseconds since the epoch."""
        return {"asked_at": str(time.time_ns())}
