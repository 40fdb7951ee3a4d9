"""Executor of Pusher."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components import versions
from components.progress import progress

_Artifacts = dict[str, list[types.Artifact]]


class Executor(base_executor.BaseExecutor):
    """Publishes the model if it is blessed and new."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:
        """Publishes; see `components.pusher.component.Pusher` for inputs and outputs."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        directory = versions.model_dir(exec_properties["base_path"], exec_properties["model_name"])
        servable = path_utils.serving_model_path(model.uri)

        version: versions.Version | None = None
        pushed = False
        reason = _refusal(input_dict)
        if not reason:
            version = versions.newest(directory)
            fingerprint = versions.fingerprint(servable)
            if version and fingerprint and version.fingerprint == fingerprint:
                reason = f"nothing new: version {version.number} already serves this model"
            else:
                progress(f"publishing to {directory}")
                version = versions.publish(servable, directory)
                pushed = True
                reason = f"version {version.number} is published"

        pushed_model.set_string_custom_property(
            "summary", f"{reason} · {version.path}" if pushed and version else reason
        )
        pushed_model.set_string_custom_property("reason", reason)
        pushed_model.set_int_custom_property("pushed", int(pushed))
        if version:
            pushed_model.set_string_custom_property("version", str(version.number))
            pushed_model.set_string_custom_property("pushed_destination", str(version.path))


def _refusal(input_dict: _Artifacts) -> str:
    """Returns which blessings are missing; empty if none is."""
    refused = []
    if not model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["model_blessing"])):
        refused.append("the Evaluator")
    if not model_utils.is_infra_validated(artifact_utils.get_single_instance(input_dict["infra_blessing"])):
        refused.append("the ServableValidator")
    return f"not pushed: not blessed by {' and '.join(refused)}" if refused else ""
