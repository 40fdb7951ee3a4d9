"""Executor of Promoter."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import versions
from components.artifacts import Artifacts
from components.errors import InputError
from components.progress import progress
from serving.promotion import Promoter, WrongPromotion, every_replica, files


class Executor(base_executor.BaseExecutor):
    """Promotes the pushed version if that is approved."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Promotes; see `components.promoter.component.Promoter` for inputs and outputs.

        Raises:
            InputError: The parameters are wrong, or the version can't get the label.
            PromotionFailed: A model server failed; everything is as it was.
        """
        pushed_model = artifact_utils.get_single_instance(input_dict["pushed_model"])
        promotion = artifact_utils.get_single_instance(output_dict["promotion"])
        version = pushed_model.get_string_custom_property("version")
        label, approved = exec_properties["label"], exec_properties["approved"].lower()
        if approved not in ("true", "false"):
            raise InputError(f"promote_approved {exec_properties['approved']!r}: it is true or false")
        promoted = False
        if not version:
            summary = f"nothing to promote: {pushed_model.get_string_custom_property('reason')}"
        elif approved == "false":
            summary = f"version {version} is not promoted to {label}: promote_approved is false"
        else:
            promoted = _promote(int(version), label, exec_properties)
            summary = f"version {version} {'has now' if promoted else 'had already'} the label {label}"
        promotion.set_string_custom_property("summary", summary)
        promotion.set_string_custom_property("label", label)
        promotion.set_string_custom_property("version", version)
        promotion.set_int_custom_property("promoted", int(promoted))


def _promote(version: int, label: str, exec_properties: dict[str, Any]) -> bool:
    """Moves the label to a version; returns whether it was elsewhere before."""
    directory = versions.model_dir(exec_properties["base_path"], exec_properties["model_name"])
    base_path, model = directory.parent, directory.name
    try:
        found = files.aspired(files.read_config(base_path), model)
        if found and found.labels.get(label) == version:
            return False
        promoter = Promoter(
            base_path,
            model,
            every_replica(json.loads(exec_properties["replicas"])),
            who="the pipeline",
            why="pushed by a run that was approved",
            say=progress,
        )
        promoter.promote(version, label)
    except WrongPromotion as error:
        raise InputError(str(error)) from None
    return True
