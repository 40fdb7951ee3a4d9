"""A component that does as it is told, and how it is started, for the tests of the entry point and of the node."""

# ruff: noqa: RUF012 - mutable class attributes are TFX's way
import atexit
import json
import os
import time

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.breaches import BreachError
from components.drivers.exec_properties import ExecPropertiesDriver
from components.errors import InputError
from components.progress import progress


class ToySpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "what": component_spec.ExecutionParameter(type=str),
        "count": component_spec.ExecutionParameter(type=int, optional=True),
        "looked": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Executor(base_beam_executor.BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        model = artifact_utils.get_single_instance(output_dict["model"])
        progress("half of it is done")
        with open(os.path.join(model.uri, "weights"), "w") as file:
            file.write("half")
        what = exec_properties["what"]
        if what == "wrong":
            raise InputError("log.csv: row 3 is wrong; mend it")
        if what == "a breach":
            raise BreachError("no pushed run", ["events: 5, 100 before"])
        if what == "broken":
            raise RuntimeError("something broke")
        if what == "killed":
            os.kill(os.getpid(), 9)
        if what == "slow":
            time.sleep(600)
        if what == "aborts at its end":
            atexit.register(os.abort)
        os.write(2, b"E0000 00:00:00.000000 1 x.cc:1] said by C++\n")
        model.set_string_custom_property("summary", f"{examples.split_names} {exec_properties['count'] + 1}")
        model.set_string_custom_property("looked", exec_properties["looked"])
        model.set_string_custom_property("from", examples.uri)
        model.set_int_custom_property("files", 3)


class Driver(ExecPropertiesDriver):
    def look(self, execution_info):
        return {"looked": f"at {execution_info.exec_properties['what']}"}


class Toy(base_beam_component.BaseBeamComponent):
    SPEC_CLASS = ToySpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, examples, what, count=None):
        super().__init__(
            ToySpec(examples=examples, what=what, count=count, model=types.Channel(type=standard_artifacts.Model))
        )


BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=none"]


def executor_input(what="works", count=4):
    """As open-source KFP writes it."""
    examples = {
        "name": "12",
        "type": {"instanceSchema": ""},
        "uri": "s3://b/examples",
        "metadata": {"split_names": '["train"]', "span": 0, "display_name": "examples", "store_session_info": "null"},
    }
    model = {
        "name": "model",
        "type": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
        "uri": "s3://b/r/model",
    }
    return {
        "inputs": {
            "artifacts": {"examples": {"artifacts": [examples]}},
            "parameterValues": {"what": what, "count": count},
        },
        "outputs": {"artifacts": {"model": {"artifacts": [model]}}, "outputFile": "/s3/b/r/output_metadata.json"},
    }


def arguments(what="works", **more):
    component = ["--node", "Toy", "--component", "tests.kubeflow.toy.Toy"]
    return [*component, "--executor_input", json.dumps(executor_input(what, **more)), "--", *BEAM_ARGS]


def logged(capsys):
    """All that was written, which must be JSON, an object a line."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line["node"] == "Toy" and line["severity"] and line["message"] for line in lines)
    return lines
