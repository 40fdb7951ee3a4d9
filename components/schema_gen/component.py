"""The schema as a node whose setting is the schema itself.

TFX's ImportSchemaGen reads a file, which only the machine that made it has: a DAG compiled here could not run there.
"""

from __future__ import annotations

import os
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import io_utils

from components.artifacts import Artifacts

_FILE_NAME = "schema.pbtxt"


class ImportSchemaGenSpec(component_spec.ComponentSpec):
    """Outputs and parameters of `ImportSchemaGen`."""

    PARAMETERS = {"content": component_spec.ExecutionParameter(type=str)}  # noqa: RUF012 - TFX's way
    INPUTS: dict[str, component_spec.ChannelParameter] = {}  # noqa: RUF012
    OUTPUTS = {"schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)}  # noqa: RUF012


class Executor(base_executor.BaseExecutor):
    """Writes the schema; its parameter `content` is the schema as text."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Writes the schema as text, where TFX's components look for it."""
        artifact = artifact_utils.get_single_instance(output_dict["schema"])
        schema = text_format.Parse(exec_properties["content"], schema_pb2.Schema())
        io_utils.write_pbtxt_file(os.path.join(artifact.uri, _FILE_NAME), schema)
        artifact.set_string_custom_property("summary", f"{len(schema.feature)} features, from the config")


class ImportSchemaGen(base_component.BaseComponent):
    """Turns a schema into an artifact.

    Args:
        schema: The schema; a changed one is another setting, so the cache notices.
    """

    SPEC_CLASS = ImportSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, schema: schema_pb2.Schema) -> None:
        super().__init__(
            ImportSchemaGenSpec(
                content=text_format.MessageToString(schema), schema=types.Channel(type=standard_artifacts.Schema)
            )
        )
