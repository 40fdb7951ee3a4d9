"""Hands a config's pipeline to Kubeflow Pipelines: uploads it, starts a run or sets a recurring one, waits for the end.

All of it can be done again: the same pipeline is not uploaded twice, and a recurring run is replaced, not doubled.

Who asks is told by the environment, never by arguments, which other users of the machine can see:

    KF_PIPELINES_TOKEN            a bearer token
    KF_PIPELINES_COOKIE           a session's cookie, such as authservice_session=...
    KF_PIPELINES_SA_TOKEN_PATH    a projected service account token, for pods
    SSL_CERT_FILE                 certificates of the authorities to trust
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import kfp_server_api
import urllib3
import yaml
from kfp import client as kfp_client
from kfp.client import set_volume_credentials

from components.errors import InputError
from kubeflow.kfp_private import health
from pipeline.config import Config
from serving import stderr

_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_INPUT_AT_FAULT = (400, 401, 403, 404)
_POLL_SECONDS = 10.0
_POLLS_LOST = 30
"""So many answers in a row may fail while a run is waited for: the API is restarted now and then, a run takes hours."""


class KubeflowError(RuntimeError):
    """Kubeflow Pipelines can't be reached, or fails; the message says all that there is to know."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled pipeline."""

    content: bytes
    """The YAML file."""
    spec: Mapping[str, Any]
    """Its PipelineSpec."""

    @property
    def version(self) -> str:
        """The name of the version: the same content has the same."""
        return hashlib.sha256(self.content).hexdigest()[:12]

    @property
    def nodes(self) -> frozenset[str]:
        """The names of the DAG's nodes."""
        return frozenset(self.spec["root"]["dag"]["tasks"])

    def parameters(self, assignments: Sequence[str]) -> dict[str, Any]:
        """Reads `name=value` pairs as the pipeline's parameters.

        Raises:
            InputError: A pair is none, a name is unknown, or a value is not of the parameter's type.
        """
        known = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values: dict[str, Any] = {}
        for assignment in assignments:
            name, separator, text = assignment.partition("=")
            if not separator:
                raise InputError(f"--param {assignment!r}: expected name=value, such as epochs=5")
            if name not in known:
                raise InputError(f"--param {name}: no such parameter; the pipeline has: {', '.join(sorted(known))}")
            values[name] = _value(name, text, known[name]["parameterType"])
        return values


@dataclasses.dataclass(frozen=True)
class Task:
    """A node of the DAG in a run."""

    name: str
    state: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the pipeline."""

    id: str
    name: str
    state: str
    """Such as PENDING, RUNNING, SUCCEEDED or FAILED; empty before the cluster has seen it."""
    url: str
    error: str = ""


def package(config: Config) -> Package:
    """Compiles a config.

    Raises:
        InputError: It can't be compiled.
    """
    config.kubeflow.image_reference()  # raises before the seconds that the import takes
    with stderr.held_back():
        from kubeflow.compiler import write_pipeline  # TFX, which a trigger without new data doesn't need

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        write_pipeline(config, path)
        content = path.read_bytes()
    return Package(content, next(yaml.safe_load_all(content)))


class Kubeflow:
    """A connection to the API of Kubeflow Pipelines, for one pipeline.

    Args:
        config: The config; its `kubeflow` section says where and as whom.
        host: The API's address instead of the config's. Without either, that of KF_PIPELINES_ENDPOINT or of the cluster
            that kubectl talks to.

    All methods, and making it, raise InputError when the address, the credentials or what is asked for is wrong, and
    `KubeflowError` when the API can't be reached or fails.
    """

    def __init__(self, config: Config, host: Optional[str] = None):
        self._name = config.name
        self._settings = config.kubeflow
        self._host = host or self._settings.host or os.environ.get("KF_PIPELINES_ENDPOINT", "")
        if self._host and not self._host.startswith(("http://", "https://")):
            raise InputError(f"host {self._host}: write it with http:// or https://, such as http://{self._host}")
        with self._explained():
            self._client = _Client(
                host=self._host or None,
                namespace=self._settings.namespace or "kubeflow",
                existing_token=os.environ.get("KF_PIPELINES_TOKEN") or None,
                cookies=os.environ.get("KF_PIPELINES_COOKIE") or None,
                credentials=_service_account(),
                ssl_ca_cert=os.environ.get("SSL_CERT_FILE") or None,
            )
            self._experiment = self._client.create_experiment(
                self._settings.experiment or self._name, namespace=self._settings.namespace or None
            ).experiment_id
        if not self._experiment:
            raise InputError(
                f"{self._host} answers, but not as Kubeflow Pipelines does: with a page to log in at? Then set"
                " KF_PIPELINES_COOKIE or KF_PIPELINES_TOKEN"
            )

    def start(self, compiled: Package, parameters: Mapping[str, Any], name: Optional[str] = None) -> Run:
        """Starts a run; by default its name is the pipeline's and the time."""
        now = datetime.datetime.now(datetime.timezone.utc)
        with self._explained():
            job = self._job(compiled, parameters)
            run = self._client.run_pipeline(self._experiment, name or f"{self._name} {now:%Y-%m-%d %H:%M:%S}", **job)
        return self._run(run)

    def schedule(
        self, compiled: Package, parameters: Mapping[str, Any], cron: str, name: Optional[str] = None
    ) -> tuple[str, bool]:
        """Sets a recurring run, which takes the place of those of the same name.

        Args:
            compiled: The pipeline.
            parameters: Of all its runs.
            cron: Minute, hour, day, month and day of the week, UTC unless the cluster says otherwise.
            name: By default the pipeline's.

        Returns:
            Its URL, and whether anything had to be changed.
        """
        # KFP's scheduler begins with seconds and takes five fields without a word for seconds to days.
        fields = cron.split()
        if len(fields) != 5:
            raise InputError(
                f"--schedule {cron!r}: expected five fields (minute, hour, day, month, day of the week), such as"
                ' "0 3 * * *"'
            )
        cron = " ".join(["0", *fields])
        name = name or self._name
        with self._explained():
            job = self._job(compiled, parameters)
            listed = self._client.list_recurring_runs(
                experiment_id=self._experiment, page_size=100, filter=_filter(name)
            )
            found = _named(name, listed.recurring_runs)
            same = next((recurring for recurring in found if _is(recurring, cron, job)), None)
            kept = same or self._client.create_recurring_run(
                self._experiment, name, cron_expression=cron, max_concurrency=1, no_catchup=True, **job
            )
            disabled = same is not None and same.mode != "ENABLE"
            if disabled:
                self._client.enable_recurring_run(kept.recurring_run_id)
            # The old ones go when the new one is there: if this is killed, one of them runs, and a repetition mends it.
            others = [recurring for recurring in found if recurring is not same]
            for recurring in others:
                self._client.delete_recurring_run(recurring.recurring_run_id)
        changed = same is None or disabled or bool(others)
        return f"{self._web()}/#/recurringrun/details/{kept.recurring_run_id}", changed

    def newest(self, name: str) -> Optional[Run]:
        """The newest run of a name."""
        with self._explained():
            listed = self._client.list_runs(
                experiment_id=self._experiment, sort_by="created_at desc", filter=_filter(name)
            )
        runs = _named(name, listed.runs)
        return self._run(runs[0]) if runs else None

    def wait(self, run: Run, nodes: Collection[str], ended: Callable[[Task], None], poll: float = _POLL_SECONDS) -> Run:
        """Waits for the end of a run.

        Args:
            run: The run.
            nodes: The DAG's nodes; a run has other tasks too.
            ended: Called with each of these as it ends.
            poll: Seconds between two looks.

        Returns:
            The run in its last state.
        """
        told: set[str] = set()
        lost = 0
        while True:
            try:
                with self._explained():
                    answer = self._client.get_run(run.id)
                lost = 0
            except KubeflowError:
                lost += 1
                if lost == _POLLS_LOST:
                    raise
            else:
                for task in _tasks(answer):
                    if task.name in nodes and task.name not in told and task.state in _ENDED:
                        told.add(task.name)
                        ended(task)
                if answer.state in _ENDED:
                    return self._run(answer)
            time.sleep(poll)

    def _job(self, compiled: Package, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a run and a recurring run have in common. Uploads the pipeline unless the same is there."""
        client, namespace = self._client, self._settings.namespace or None
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "pipeline.yaml")
            Path(path).write_bytes(compiled.content)
            pipelines = _named(
                self._name, client.list_pipelines(namespace=namespace, filter=_filter(self._name)).pipelines
            )
            # KFP gives the first version the pipeline's own name; ours, by content, follows.
            if not pipelines:
                pipelines = [client.upload_pipeline(path, self._name, namespace=namespace)]
            pipeline = pipelines[0].pipeline_id
            listed = client.list_pipeline_versions(pipeline, filter=_filter(compiled.version))
            versions = _named(compiled.version, listed.pipeline_versions)
            if not versions:
                versions = [client.upload_pipeline_version(path, compiled.version, pipeline_id=pipeline)]
        return {
            "params": dict(parameters),
            "pipeline_id": pipeline,
            "version_id": versions[0].pipeline_version_id,
            "service_account": self._settings.service_account or None,
        }

    def _run(self, run: Any) -> Run:
        error = run.error.message if run.error else None
        return Run(
            run.run_id, run.display_name, run.state or "", f"{self._web()}/#/runs/details/{run.run_id}", error or ""
        )

    def _web(self) -> str:
        return os.environ.get("KF_PIPELINES_UI_ENDPOINT") or self._host or "(the dashboard)"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Mutes what kfp prints, and turns what it raises into one message."""
        where = self._host or "the cluster that kubectl talks to"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            message = f"Kubeflow Pipelines at {where}: {_reason(error)}"
            if error.status in _INPUT_AT_FAULT:
                raise InputError(message) from None
            raise KubeflowError(message) from None
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise KubeflowError(
                f"no Kubeflow Pipelines at {where}: {reason}; check kubeflow.host or --host, and that"
                " `kubectl port-forward` still runs if it is by one"
            ) from None


class _Client(kfp_client.Client):
    """kfp's client, made for commands: it asks once and tells why it failed."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asks whether the API has users; kfp itself would ask for half a minute and then hide the reason."""
        found = health(self)
        if found.multi_user:
            raise InputError("kubeflow.namespace: missing; this Kubeflow Pipelines has users: name your namespace")
        return found


def _service_account() -> Optional[set_volume_credentials.ServiceAccountTokenVolumeCredentials]:
    """The credentials of a pod, if the environment names some; read anew for each request, for they change."""
    path = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH")
    if not path:
        return None
    if not os.access(path, os.R_OK):
        raise InputError(f"KF_PIPELINES_SA_TOKEN_PATH: {path} can't be read; is the token's volume mounted there?")
    return set_volume_credentials.ServiceAccountTokenVolumeCredentials(path)


def _filter(name: str) -> str:
    """KFP's filter for things of a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _named(name: str, things: Optional[Sequence[Any]]) -> list[Any]:
    """What was listed, as a list also where there is nothing, and nothing else if the API knows no filters."""
    return [thing for thing in things or () if thing.display_name == name]


def _is(recurring: Any, cron: str, job: Mapping[str, Any]) -> bool:
    """Whether a recurring run does a job at these times."""
    reference, trigger, config = recurring.pipeline_version_reference, recurring.trigger, recurring.runtime_config
    return (
        (reference and reference.pipeline_version_id) == job["version_id"]
        and (trigger and trigger.cron_schedule and trigger.cron_schedule.cron) == cron
        and ((config and config.parameters) or {}) == job["params"]
        # Where none is asked for, KFP says which it took.
        and job["service_account"] in (None, recurring.service_account)
    )


def _tasks(run: Any) -> Iterator[Task]:
    for task in (run.run_details and run.run_details.task_details) or ():
        took = task.end_time - task.start_time if task.end_time and task.start_time else datetime.timedelta()
        yield Task(task.display_name, task.state or "", max(0.0, took.total_seconds()))


def _value(name: str, text: str, kind: str) -> Any:
    """A parameter's value, from text."""
    try:
        if kind == "STRING":
            return text
        if kind == "NUMBER_INTEGER":
            return int(text)
        value = json.loads(text)
    except ValueError:
        value = None
    expected: dict[str, tuple[type, ...]]
    expected = {"NUMBER_DOUBLE": (int, float), "BOOLEAN": (bool,), "LIST": (list,), "STRUCT": (dict,)}
    if not isinstance(value, expected.get(kind, ())):
        raise InputError(f"--param {name}={text}: expected {kind.lower().replace('_', ' ')}")
    return value


def _reason(error: kfp_server_api.ApiException) -> str:
    """What the API says of an error, and what can be done."""
    try:
        content = json.loads(error.body)
        said = content.get("message") or content.get("error_message") or content.get("error")
    except (TypeError, ValueError, AttributeError):
        said = None
    # A proxy's page of HTML says nothing; the API repeats its reasons at length after the first.
    reason = " ".join(str(said or error.reason or "no reason given").split())[:500]
    hints = {
        0: "; SSL_CERT_FILE names certificates to trust; without TLS write http://",
        401: "; set KF_PIPELINES_TOKEN (or KF_PIPELINES_COOKIE) to a token that is still valid",
        403: "; ask for access to the namespace, or set KF_PIPELINES_TOKEN to the token of someone who has it",
        404: "; check that the address is that of Kubeflow Pipelines",
    }
    status = f"{error.status} " if error.status else ""
    return f"{status}{reason}{hints.get(error.status, '')}"
