"""Executor of the Evaluator."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components import versions
from components.artifacts import Artifacts
from components.evaluation_report import CANDIDATE, CHAMPION, Report, save_report
from components.evaluator.earlier import QUERY_SPLIT, FairBy, Night
from components.evaluator.settings import EvaluatorSettings
from components.examples import reading
from serving import contract


class Executor(base_beam_executor.BaseBeamExecutor):
    """Judges the candidate, and writes the evaluation and the blessing as TFX's own Evaluator does."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Runs the evaluation; see `components.evaluator.component.Evaluator` for inputs and outputs."""
        from components.evaluator import analysis  # TFMA takes seconds to import

        settings = EvaluatorSettings.model_validate_json(exec_properties["settings"])
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        models = {CANDIDATE: artifact_utils.get_single_instance(input_dict["model"])}
        for champion in input_dict.get("champion", []):
            if fileio.exists(os.path.join(path_utils.serving_model_path(champion.uri), contract.SAVED_MODEL)):
                models[CHAMPION] = champion

        report = analysis.evaluate(
            self._make_beam_pipeline,
            artifact_utils.get_single_uri(input_dict["examples"]),
            artifact_utils.get_single_uri(input_dict["catalogue"]),
            json.loads(exec_properties["item_features"]),
            {name: path_utils.serving_model_path(model.uri) for name, model in models.items()},
            settings,
            evaluation.uri,
            _night(
                input_dict.get("champion", []),
                input_dict.get("champion_queries", []),
                exec_properties.get("fair_by") or "",
            ),
        )
        save_report(report, evaluation.uri)
        evaluation.set_string_custom_property("summary", report.summary())
        _bless(blessing, report, models)


def _night(champions: list[types.Artifact], queries: list[types.Artifact], fair_by: FairBy) -> Night | None:
    """What is known of the night when the champion was pushed: its queries, and what it says of itself; that may be all
    that there is of it."""
    release = versions.release(path_utils.serving_model_path(champions[0].uri)) if champions else {}
    there = [found.uri for found in queries if reading.has_split(found, QUERY_SPLIT)]
    return Night(there[0] if there else "", fair_by, release.get("metrics", {}), release.get("baselines", {}))


def _bless(blessing: types.Artifact, report: Report, models: dict[str, types.Artifact]) -> None:
    file_name = constants.BLESSED_FILE_NAME if report.blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, file_name), "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if report.blessed else constants.NOT_BLESSED_VALUE,
    )
    candidate, champion = models[CANDIDATE], models.get(CHAMPION)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, candidate.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
    if champion:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, champion.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, champion.id)
    blessing.set_string_custom_property("blessing_message", "; ".join(map(str, report.failures or report.checks)))
