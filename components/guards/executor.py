"""Executor of Guards."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components import log_profile
from components.artifacts import Artifacts
from components.breaches import BreachError
from components.data_profile import CHECKS, FILES, PROFILE
from components.guards import catalogue, last_pushed
from components.guards.checks import Check, check
from components.guards.profile import Profile, compared, to_json
from components.guards.settings import GuardSettings
from components.log_profile import LogProfile


class Executor(base_executor.BaseExecutor):
    """Profiles the data, and judges them."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Judges the data; see `components.guards.component.Guards` for inputs and outputs.

        Raises:
            BreachError: A limit is not kept, and no reason is given to let that through.
        """
        settings = GuardSettings.model_validate_json(exec_properties["settings"])
        base_path, model_name = exec_properties["base_path"], exec_properties["model_name"]
        version = exec_properties.get("last_pushed")
        # The driver's find, not a newer one, since the cache will remember it as the answer to that.
        pushed = last_pushed.read(
            base_path, model_name, last_pushed.newest(base_path, model_name) if version is None else version
        )
        today = _profile(input_dict, json.loads(exec_properties["features"]))
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        checks = check(today, pushed.profile, settings, now)
        breaches = [found for found in checks if not found.passed]
        accepted = exec_properties["accept"] if breaches else ""
        against = _against(pushed)
        if breaches and not accepted:
            raise BreachError(against, list(map(str, breaches)))
        output = artifact_utils.get_single_instance(output_dict["profile"])
        said = {"last_pushed": pushed.version, "accepted": accepted, "checks": list(map(dataclasses.asdict, checks))}
        texts = {PROFILE: to_json(today), CHECKS: _written(said), FILES: _written(_files(input_dict))}
        for name, text in texts.items():
            io_utils.write_string_file(os.path.join(output.uri, name), text)
        output.set_string_custom_property("last_pushed", pushed.version)
        output.set_string_custom_property("summary", _summary(checks, breaches, accepted, against))
        if breaches:
            output.set_string_custom_property("accepted", accepted)
            output.set_string_custom_property("breaches", "\n".join(map(str, breaches)))


def _profile(inputs: Artifacts, kinds: Mapping[str, str]) -> Profile:
    log = _log(artifact_utils.get_single_uri(inputs["rejects"]))
    items = catalogue.read(artifact_utils.get_single_uri(inputs["catalogue"]), kinds)
    events = stats_artifact_utils.load_statistics(artifact_utils.get_single_instance(inputs["statistics"]), "train")
    return Profile(
        log=log,
        listed=len(items.listed),
        unlisted=_unlisted(log, items.listed),
        features={"": compared(events.proto()), "catalogue.": compared(items.statistics)},
    )


def _files(inputs: Artifacts) -> dict[str, Any]:
    """Which files the data were read from, as far as the nodes that read them have noted it."""
    noted = [os.path.join(artifact_utils.get_single_uri(inputs[name]), FILES) for name in ("rejects", "catalogue")]
    return {
        what: files
        for path in noted
        if fileio.exists(path)
        for what, files in json.loads(io_utils.read_string_file(path)).items()
    }


def _written(facts: Any) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False)


def _log(uri: str) -> Optional[LogProfile]:
    path = os.path.join(uri, log_profile.FILE_NAME)
    return log_profile.from_json(io_utils.read_string_file(path)) if fileio.exists(path) else None


def _unlisted(log: Optional[LogProfile], listed: np.ndarray) -> Optional[float]:
    """The share of the log's events that are of items that the catalogue does not list."""
    if log is None or not len(listed):
        return None
    known = set(listed.tolist())
    return sum(events for item, events in log.sample.items() if item not in known) / max(sum(log.sample.values()), 1)


def _against(pushed: last_pushed.LastPushed) -> str:
    if not pushed.version:
        return "no pushed run to compare with"
    if pushed.profile is None:
        return f"version {pushed.version}, the last pushed, says nothing of its data to compare with"
    return f"beside those of version {pushed.version}"


def _summary(checks: list[Check], breaches: list[Check], accepted: str, against: str) -> str:
    if breaches:
        return f"let through ({accepted}): {'; '.join(map(str, breaches))}"
    return f"{len(checks)} limits kept; {against}"
