"""Runs a compiled pipeline as open-source Kubeflow Pipelines does, knowing nothing but the YAML.

Driver, launcher, metadata store and cache behave as those of KFP's backend (backend/src/v2 of kubeflow/pipelines):
artifacts of earlier tasks come with an empty instance schema and all their numbers as floats, a task that failed
uploads nothing, and each try has a container, here a process and a root folder, of its own. What is between tasks is in
an object store, over HTTP.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import psutil
import s3fs
import yaml

from tests import forks

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = {
    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    "PYTHONPATH": str(CHECKOUT),
    "PYTHONUNBUFFERED": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
"""The environment that the image has; there the package is installed."""

BUCKET = "bucket"
"""In the object store, for all that a pipeline takes from there and leaves there."""

Json = dict[str, Any]


@dataclasses.dataclass
class Task:
    """What became of a task."""

    state: str
    """`succeeded`, `cached`, `failed`, or `skipped` because one that it depends on failed."""
    outputs: dict[str, Json] = dataclasses.field(default_factory=dict)
    """Artifacts as the metadata store has them: id, uri and metadata."""
    tries: int = 0
    logs: list[Json] = dataclasses.field(default_factory=list)
    """Of the last try."""
    code: Optional[int] = None
    """Exit code of the last try."""

    @property
    def summary(self) -> str:
        """What the executor says that it made."""
        return next((o["metadata"]["summary"] for o in self.outputs.values() if "summary" in o["metadata"]), "")


class Walker:
    """A cluster with one pipeline.

    Args:
        pipeline: The compiled YAML.
        folder: Where the containers are.
        environment: Leads to the object store, see `tests.components.stores`.
    """

    def __init__(self, pipeline: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.upload(pipeline)
        self._environment = environment
        self.store = s3fs.S3FileSystem(
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            key=environment["AWS_ACCESS_KEY_ID"],
            secret=environment["AWS_SECRET_ACCESS_KEY"],
        )
        self._containers = folder / "containers"
        self._cwd = folder / "elsewhere"
        self._cwd.mkdir(parents=True)
        self._cache: dict[str, dict[str, Json]] = {}
        self._ids = 0

    def upload(self, pipeline: Path) -> None:
        """Takes another version of the pipeline; what is in the cache stays there."""
        documents = list(yaml.safe_load_all(pipeline.read_text("utf-8")))
        self.spec: Json = documents[0]
        self.platform: Json = {}
        if len(documents) > 1:
            self.platform = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def run(self, parameters: Mapping[str, Any] = {}, evict: Mapping[str, int] = {}) -> dict[str, Task]:
        """Runs all tasks in the order of their dependencies.

        Args:
            parameters: Instead of the defaults.
            evict: Tasks whose first try ends by a signal as soon as it has written something, and the signal.

        Returns:
            The tasks by name, in the order of running.
        """
        definitions = self.spec["root"]["inputDefinitions"]["parameters"]
        unknown = set(parameters) - set(definitions)
        assert not unknown, unknown
        values = {name: parameters.get(name, definition["defaultValue"]) for name, definition in definitions.items()}
        tasks = self.spec["root"]["dag"]["tasks"]
        root = f"{self.spec['defaultPipelineRoot']}/{self.spec['pipelineInfo']['name']}/{uuid.uuid4()}"
        done: dict[str, Task] = {}
        while len(done) < len(tasks):
            ready = [
                name
                for name, task in tasks.items()
                if name not in done and set(task.get("dependentTasks", ())) <= set(done)
            ]
            assert ready, "the tasks depend on each other in a circle"
            for name in ready:
                before = [done[other] for other in tasks[name].get("dependentTasks", ())]
                if all(task.state in ("succeeded", "cached") for task in before):
                    done[name] = self._task(name, values, done, f"{root}/{name}/{uuid.uuid4()}", evict.get(name))
                else:
                    done[name] = Task("skipped")
        return done

    def _task(self, name: str, values: Json, done: dict[str, Task], root: str, evicted: Optional[int]) -> Task:
        task = self.spec["root"]["dag"]["tasks"][name]
        component = self.spec["components"][task["componentRef"]["name"]]
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        described = self._executor_input(task, component, values, done, root)
        key = self._cache_key(component["executorLabel"], container, described)
        cached = task["cachingOptions"].get("enableCache", False)
        if cached and key in self._cache:
            return Task("cached", self._cache[key])
        result = Task("failed")
        while result.state == "failed" and result.tries <= task.get("retryPolicy", {}).get("maxRetryCount", 0):
            self._try(container, described, result, None if result.tries else evicted)
        if result.state == "succeeded" and cached:
            self._cache[key] = result.outputs
        return result

    def _executor_input(self, task: Json, component: Json, values: Json, done: dict[str, Task], root: str) -> Json:
        """What KFP's driver tells of inputs and outputs."""
        inputs = task.get("inputs", {})
        parameters = {
            name: values[given["componentInputParameter"]]
            if "componentInputParameter" in given
            else given["runtimeValue"]["constant"]
            for name, given in inputs.get("parameters", {}).items()
        }
        for name, value in parameters.items():
            kind = component["inputDefinitions"]["parameters"][name]["parameterType"]
            assert isinstance(value, str) if kind == "STRING" else isinstance(value, (int, float)), (name, value, kind)
        artifacts = {}
        for name, given in inputs.get("artifacts", {}).items():
            source = given["taskOutputArtifact"]
            output = done[source["producerTask"]].outputs[source["outputArtifactKey"]]
            artifacts[name] = {"artifacts": [{**output, "type": {"instanceSchema": ""}}]}
        outputs = {
            name: {"artifacts": [{"name": name, "uri": f"{root}/{name}", "type": output["artifactType"]}]}
            for name, output in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        return {
            "inputs": {
                # protojson writes a whole float as an integer.
                "parameterValues": {
                    n: int(v) if isinstance(v, float) and v == int(v) else v for n, v in parameters.items()
                },
                "artifacts": artifacts,
            },
            "outputs": {"artifacts": outputs, "outputFile": _local(root) + "/output_metadata.json"},
        }

    def _cache_key(self, label: str, container: Json, described: Json) -> str:
        """KFP's fingerprint: ids of input artifacts, parameters, kinds of outputs, command, image and volumes."""
        content = {
            "inputs": {n: [a["name"] for a in x["artifacts"]] for n, x in described["inputs"]["artifacts"].items()},
            "parameters": described["inputs"]["parameterValues"],
            "outputs": {n: [a["type"] for a in x["artifacts"]] for n, x in described["outputs"]["artifacts"].items()},
            "container": [container["image"], *container["command"], *container["args"]],
            "volumes": sorted(mount["constant"] for mount in self.platform.get(label, {}).get("pvcMount", ())),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _try(self, container: Json, described: Json, result: Task, evicted: Optional[int]) -> None:
        """One pod: KFP's launcher downloads, runs the command, and uploads if it succeeded."""
        result.tries += 1
        root = self._containers / uuid.uuid4().hex
        for given in described["inputs"]["artifacts"].values():
            uri = given["artifacts"][0]["uri"]
            self.download(uri, root / _local(uri)[1:])
        outputs = {name: listed["artifacts"][0] for name, listed in described["outputs"]["artifacts"].items()}
        for output in outputs.values():
            (root / _local(output["uri"])[1:]).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(described)
        arguments = [argument.replace("{{$}}", text) for argument in (*container["command"], *container["args"])]
        assert not re.search(r"\{\{\$", "".join(container["args"]).replace("{{$}}", "")), "a placeholder is left"
        environment = {
            **IMAGE,
            **self._environment,
            **{entry["name"]: entry["value"] for entry in container.get("env", ())},
            "HOME": str(root),
            "TMPDIR": str(root),
            "RECOMMENDER_ARTIFACTS_ROOT": str(root),
        }
        process = forks.Popen(
            arguments, cwd=self._cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout
        lines = []
        for line in process.stdout:
            if evicted and not lines:
                _end(process.pid, evicted)
            lines.append(line)
        result.code = process.wait()
        result.logs = [json.loads(line) for line in lines]  # all of it is JSON, or this fails
        file = root / described["outputs"]["outputFile"][1:]
        was_done = not result.code or any(line["message"] == "done" for line in result.logs)
        if result.code == -signal.SIGKILL or (evicted and was_done):
            pass  # the container is gone, with all that was in it, be it that it was done a moment before
        elif result.code:
            left = [o["uri"] for o in outputs.values() if (root / _local(o["uri"])[1:]).exists()]
            assert not left, left
            assert not file.exists()
        else:
            result.state = "succeeded"
            written = json.loads(file.read_text("utf-8"))["artifacts"]
            for name, output in outputs.items():
                assert written[name]["artifacts"][0].get("uri", output["uri"]) == output["uri"]
                self._upload(output["uri"], root)
                result.outputs[name] = self._recorded(name, output["uri"], written[name]["artifacts"][0]["metadata"])
        shutil.rmtree(root)

    def _recorded(self, name: str, uri: str, metadata: Json) -> Json:
        """An artifact as the metadata store gives it back."""
        self._ids += 1
        stored: Json = {"display_name": name, "store_session_info": "null"}
        for key, value in metadata.items():
            assert value is not None, f"{name}.{key}: KFP's launcher fails on null"
            if isinstance(value, list):
                value = {"list": value}
            elif isinstance(value, dict):
                value = {"struct": value}
            stored[key] = int(value) if isinstance(value, (int, float)) and value == int(value) else value
        return {"name": str(self._ids), "uri": uri, "metadata": stored}

    def _upload(self, uri: str, root: Path) -> None:
        local = root / _local(uri)[1:]
        for path in sorted(local.rglob("*")):
            if path.is_file():
                self.store.put_file(str(path), f"{uri}/{path.relative_to(local)}")

    def download(self, uri: str, target: Path) -> Path:
        """Copies the objects below a URI into a folder, which it returns; without any there is none."""
        start = uri.removeprefix("s3://")
        for key in self.store.find(start):
            path = target / key.removeprefix(f"{start}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.store.get_file(key, str(path))
        return target


def _end(pid: int, number: int) -> None:
    """Ends a container: all that is in it if that is by SIGKILL, else its first process, which is to do the rest."""
    first = psutil.Process(pid)
    processes = [first, *first.children(recursive=True)] if number == signal.SIGKILL else [first]
    for process in processes:
        process.send_signal(number)
    psutil.wait_procs(processes[1:], timeout=10)


def _local(uri: str) -> str:
    """KFP's LocalPathForURI."""
    return "/s3/" + uri.removeprefix("s3://")


def report(tasks: Mapping[str, Task]) -> str:
    """A line a task: state, tries, seconds, memory, summary."""
    lines = []
    for name, task in tasks.items():
        last = task.logs[-1] if task.logs else {}
        lines.append(
            f"{name:<19} {task.state:<9} tries {task.tries}  {last.get('seconds', 0):6.1f} s "
            f"{last.get('peak_memory_mib', 0):6,} MiB  {task.summary}"
        )
    return "\n".join(lines)
