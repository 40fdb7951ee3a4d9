"""A driver that sets exec properties just before the cache is asked, so that they decide what the cache answers."""

from __future__ import annotations

import abc
from typing import Any, Optional

from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2


class ExecPropertiesDriver(base_driver.BaseDriver, portable_base_driver.BaseDriver, abc.ABC):
    """Base of drivers that look at the world outside the pipeline.

    Exec properties are part of the cache's key, so a component whose driver puts the state of the world into one is
    run again when that state has changed. Runners without drivers (Kubeflow) leave these properties unset.
    """

    def __init__(self, metadata_handle: Optional[metadata.Metadata]):
        # TFX asks for the one base where a component is defined, and runs the other.
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)
        self.metadata_handle = metadata_handle
        """MLMD, not open; None where there is none, on Kubeflow Pipelines."""

    @abc.abstractmethod
    def look(self, execution_info: data_types.ExecutionInfo) -> dict[str, str]:
        """Returns the exec properties to set."""

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns TFX's DriverOutput with all exec properties."""
        output = driver_output_pb2.DriverOutput()  # type: ignore[attr-defined]
        for name, value in {**execution_info.exec_properties, **self.look(execution_info)}.items():
            if value is not None:
                data_types_utils.set_metadata_value(output.exec_properties[name], value)
        return output
