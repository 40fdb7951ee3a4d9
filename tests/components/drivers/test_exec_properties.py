"""A driver's finds are exec properties, beside those that the node was given."""

from __future__ import annotations

from tfx.orchestration.portable import data_types

from components.drivers.exec_properties import ExecPropertiesDriver


class Weather(ExecPropertiesDriver):
    """Looks out of the window."""

    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        return {"weather": f"rain in {execution_info.exec_properties['place']}"}


def test_what_is_found_is_added_and_what_is_unset_left_out() -> None:
    given = data_types.ExecutionInfo(exec_properties={"place": "Bergen", "days": 3, "weather": "old", "unset": None})
    found = Weather(metadata_handle=None).run(given).exec_properties
    assert {name: value.WhichOneof("value") for name, value in found.items()} == {
        "place": "string_value",
        "days": "int_value",
        "weather": "string_value",
    }
    assert found["weather"].string_value == "rain in Bergen"
    assert found["days"].int_value == 3
