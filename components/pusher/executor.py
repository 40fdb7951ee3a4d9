"""Executor of Pusher."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any, Optional

from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components import versions
from components.artifacts import Artifacts
from components.data_profile import FILES, IN_VERSION, PROFILE
from components.evaluation_report import CANDIDATE, OVERALL, load_report
from components.progress import progress
from components.pusher.origin import ORIGIN, origin
from serving import contract
from serving.promotion import prune


class Executor(base_executor.BaseExecutor):
    """Publishes the model if it is blessed and new."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Publishes; see `components.pusher.component.Pusher` for inputs and outputs."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        profile = artifact_utils.get_single_instance(input_dict["profile"])
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        directory = versions.model_dir(exec_properties["base_path"], exec_properties["model_name"])
        servable = path_utils.serving_model_path(model.uri)

        version: Any = None
        pushed = False
        reason = _refusal(input_dict)
        if not reason and not fileio.exists(os.path.join(servable, contract.SAVED_MODEL)):
            reason = "not pushed: no model was trained on all events; have one trained by `recommender run`"
        if not reason:
            version = versions.newest(directory)
            fingerprint = versions.fingerprint(servable)
            if version and fingerprint and version.fingerprint == fingerprint:
                reason = f"nothing new: version {version.number} already serves this model"
            else:
                progress(f"publishing to {directory}")
                version = versions.publish(
                    servable,
                    directory,
                    self._about(input_dict, exec_properties, fingerprint),
                    _beside(profile.uri, exec_properties.get("record")),
                )
                pushed = True
                reason = f"version {version.number} is published"
                if exec_properties.get("retain"):
                    removed = prune(directory.parent, directory.name, int(exec_properties["retain"]))
                    reason += f"; {len(removed)} old removed" if removed else ""

        pushed_model.set_string_custom_property(
            "summary", f"{reason} · {version.path}" if pushed and version else reason
        )
        pushed_model.set_string_custom_property("reason", reason)
        pushed_model.set_int_custom_property("pushed", int(pushed))
        if version:
            pushed_model.set_string_custom_property("version", str(version.number))
            pushed_model.set_string_custom_property("pushed_destination", str(version.path))

    def _about(self, input_dict: Artifacts, exec_properties: dict[str, Any], fingerprint: str) -> dict[str, Any]:
        """What the version says of itself, see `components.versions.release`."""
        artifacts = {name: artifact_utils.get_single_instance(found) for name, found in input_dict.items() if found}
        report = load_report(artifacts["evaluation"].uri)
        context = self._context
        return {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "fingerprint": fingerprint,
            **({"judged": _fingerprint(artifacts["judged"])} if "judged" in artifacts else {}),
            "blessed": True,
            "checks": [str(check) for check in report.checks],
            "metrics": dict(report.metrics[CANDIDATE][OVERALL]),
            "baselines": {name: dict(report.metrics[name][OVERALL]) for name in report.baselines},
            "lineage": {
                "pipeline": context.pipeline_info.id if context and context.pipeline_info else "",
                "run": context.pipeline_run_id if context and context.pipeline_run_id else "",
                **json.loads(exec_properties["origin"]),
                "data": artifacts["examples"].get_string_custom_property("summary"),
                "accepted": artifacts["profile"].get_string_custom_property("accepted"),
                "parent": artifacts["champion"].get_string_custom_property("version"),
                "artifacts": {name: artifact.id for name, artifact in sorted(artifacts.items())},
            },
        }


def _fingerprint(model: types.Artifact) -> str:
    return versions.fingerprint(path_utils.serving_model_path(model.uri))


def _beside(profile: str, record: Optional[str]) -> dict[Path, str]:
    """What is laid into the version: the profile of its data, and what it was made by."""
    texts = {IN_VERSION: io_utils.read_string_file(os.path.join(profile, PROFILE))}
    if record:
        files = os.path.join(profile, FILES)
        noted = json.loads(io_utils.read_string_file(files)) if fileio.exists(files) else {}
        texts[ORIGIN] = origin(json.loads(record), noted)
    return texts


def _refusal(input_dict: Artifacts) -> str:
    """Returns which blessings are missing; empty if none is."""
    refused = []
    if not model_utils.is_model_blessed(artifact_utils.get_single_instance(input_dict["model_blessing"])):
        refused.append("the Evaluator")
    if not model_utils.is_infra_validated(artifact_utils.get_single_instance(input_dict["infra_blessing"])):
        refused.append("the ServableValidator")
    return f"not pushed: not blessed by {' and '.join(refused)}" if refused else ""
