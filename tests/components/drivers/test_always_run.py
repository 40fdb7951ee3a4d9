"""No two runs of a node have the same exec properties, so none comes from the cache."""

from __future__ import annotations

from tfx.orchestration.portable import data_types

from components.drivers.always_run import AlwaysRunDriver


def test_each_look_is_another() -> None:
    driver = AlwaysRunDriver(metadata_handle=None)
    first, second = (driver.look(data_types.ExecutionInfo())["asked_at"] for _ in range(2))
    assert int(first) < int(second)
