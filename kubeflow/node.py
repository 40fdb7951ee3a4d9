"""Runs one node of the DAG: what TFX's launcher does on one machine, with KFP's description of inputs and outputs.

Started by `kubeflow.entrypoint`, which takes care of the outputs of a node that fails.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import tempfile
import traceback
import uuid
import warnings
from typing import TYPE_CHECKING, Any

from components.errors import InputError
from kubeflow.artifacts import Json, local_path, path_of, single, to_kfp, to_tfx
from kubeflow.entrypoint import log, parse
from pipeline.failures import DONE, FAILED, NOT_BLESSED, WRONG_INPUT, explain
from serving.files import write_atomically

if TYPE_CHECKING:
    from tfx.types import Artifact

Artifacts = dict[str, list["Artifact"]]


class JsonLogs(logging.Handler):
    """Writes each record as a JSON object in a line."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        more = {"traceback": "".join(traceback.format_exception(*record.exc_info))} if record.exc_info else {}
        log(record.levelname, self._node, record.getMessage(), logger=record.name, **more)


def run(component: Any, executor_input: Json, beam_args: list[str], node: str) -> Json:
    """Runs a component's driver, if it has one of ours, and its executor.

    Args:
        component: The component's class.
        executor_input: KFP's.
        beam_args: Beam's options.
        node: The node's name.

    Returns:
        KFP's executor output.
    """
    from tfx.orchestration.portable import data_types, outputs_utils

    from components.drivers.exec_properties import ExecPropertiesDriver

    spec = component.SPEC_CLASS
    described = executor_input.get("inputs", {})
    given, wanted = dict(single(described)), dict(single(executor_input["outputs"]))
    inputs: Artifacts = {name: [to_tfx(given[name], kind.type)] for name, kind in spec.INPUTS.items() if name in given}
    outputs: Artifacts = {
        name: [to_tfx(wanted[name], kind.type)] for name, kind in spec.OUTPUTS.items() if name in wanted
    }
    properties = exec_properties(described.get("parameterValues", {}), spec)
    if issubclass(component.DRIVER_CLASS, ExecPropertiesDriver):
        looked = component.DRIVER_CLASS(None).look(
            data_types.ExecutionInfo(input_dict=inputs, output_dict=outputs, exec_properties=properties)
        )
        logging.info("found %s", looked)
        properties.update(looked)
    outputs_utils.make_output_dirs(outputs)
    with tempfile.TemporaryDirectory() as temporary:
        pipeline, run_id = _run_of(next(iter(wanted.values()))["uri"], node)
        executor = _executor(component.EXECUTOR_SPEC.executor_class, beam_args, temporary, pipeline, run_id)
        result = executor.Do(inputs, outputs, properties)
    for name, listed in result.output_artifacts.items() if result else []:
        outputs[name][0].set_mlmd_artifact(listed.artifacts[0])
    outputs_utils.tag_output_artifacts_with_version(outputs)
    uris = {path_of(artifact): artifact["uri"] for artifact in (*given.values(), *wanted.values())}
    for artifacts in outputs.values():
        summary = artifacts[0].get_string_custom_property("summary")
        if summary:
            log("INFO", node, summary)
    return {
        "artifacts": {
            name: {"artifacts": [to_kfp(artifacts[0], wanted[name], uris)]} for name, artifacts in outputs.items()
        }
    }


def _executor(kind: Any, beam_args: list[str], temporary: str, pipeline: str, run_id: str) -> Any:
    """An executor of a class, with the context that TFX would give it."""
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.proto.orchestration import pipeline_pb2

    from components import beam_private

    context, flags = base_executor.BaseExecutor.Context, {}
    if issubclass(kind, base_beam_executor.BaseBeamExecutor):
        beam_private.remember()
        context, flags = base_beam_executor.BaseBeamExecutor.Context, {"beam_pipeline_args": beam_args}
    made = context(
        tmp_dir=temporary,
        unique_id=uuid.uuid4().hex,
        pipeline_info=pipeline_pb2.PipelineInfo(id=pipeline),
        pipeline_run_id=run_id,
        **flags,
    )
    return kind(made)


def _run_of(uri: str, node: str) -> tuple[str, str]:
    """Pipeline and run of an output: KFP puts it at <root>/<pipeline>/<run>/<node>/…; empty where it is elsewhere."""
    before, separator, _ = uri.partition(f"/{node}/")
    parts = before.split("/")
    return (parts[-2], parts[-1]) if separator and len(parts) > 1 else ("", "")


def exec_properties(values: Json, spec: Any) -> dict[str, Any]:
    """Returns parameters as TFX's executors know them: KFP's numbers are all floats.

    Raises:
        InputError: A number is none, or not a whole one where that is wanted.
    """
    properties = {}
    for name, value in values.items():
        kind = spec.PARAMETERS[name].type if name in spec.PARAMETERS else None
        properties[name] = _number(name, value, kind) if kind in (int, float) else value
    return properties


def _number(name: str, value: Any, kind: Any) -> float:
    try:
        number = kind(value)
    except (ValueError, TypeError, OverflowError):  # a text, nothing or a list, an infinite one
        raise InputError(f"parameter {name}: {value!r} is no {'whole ' if kind is int else ''}number") from None
    if kind is int and isinstance(value, float) and number != value:
        raise InputError(f"parameter {name}: {value!r} is no whole number")
    return number


def main(arguments: list[str]) -> int:
    """Runs the node that the command line names and writes what came of it; returns the exit code."""
    options = parse(arguments)
    warnings.simplefilter("ignore")
    logging.root.handlers[:] = [JsonLogs(options.node)]
    logging.root.setLevel(logging.INFO)
    try:
        executor_input = json.loads(options.executor_input)
        module, _, name = options.component.rpartition(".")
        component = getattr(importlib.import_module(module), name)
        output = run(component, executor_input, options.beam_args, options.node)
        path = local_path(executor_input["outputs"]["outputFile"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, json.dumps(output, sort_keys=True))
    except BaseException as error:
        failure = explain(error)
        logging.log(logging.ERROR, "%s", failure.message, exc_info=None if failure.expected else error)
        return failure.exit_code if failure.exit_code in (WRONG_INPUT, NOT_BLESSED) else FAILED
    return DONE


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Destructors of C++ libraries abort now and then, when all is written and done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
