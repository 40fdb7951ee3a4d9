"""The ServableValidator's executor: the servable in a model server of its own, the checks, the blessing."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Optional

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.artifacts import Artifacts
from components.errors import InputError
from components.progress import progress
from components.servable_validator import checks
from components.servable_validator.checks import Latency, Limits
from components.servable_validator.likeness import Likeness, compare
from components.servable_validator.sample import Sample, draw
from components.servable_validator.settings import ServableValidatorSettings
from serving import contract
from serving.client import RecommenderClient, RecommenderError
from serving.files import read_lines
from serving.server.process import ModelLoadError, ServerProcess

BLESSED_FILE = "INFRA_BLESSED"  # the names of TFX's InfraValidator, which Pusher and others look for
NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"
REPORT_FILE = "servable_validation.json"

_MODEL = "servable"
_REQUEST_TIMEOUT = 60.0
_SHOWN = 3  # reasons in the summary; all are in the report


@dataclasses.dataclass
class Report:
    """What came out."""

    failures: list[str]
    grpc: Optional[Latency] = None
    rest: Optional[Latency] = None
    peak_memory_mb: Optional[float] = None
    likeness: Optional[Likeness] = None
    """To the model that was judged, where another one is shipped."""

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        if self.failures:
            more = len(self.failures) - _SHOWN
            rest = f"; and {more} more, see {REPORT_FILE}" if more > 0 else ""
            return f"not blessed: {'; '.join(self.failures[:_SHOWN])}{rest}"
        parts = ["blessed: it answers as the contract says"]
        for name, latency in (("gRPC", self.grpc), ("REST", self.rest)):
            if latency is not None:
                parts.append(f"{name} p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms")
        if self.peak_memory_mb is not None:
            parts.append(f"server memory {self.peak_memory_mb:,.0f} MiB")
        if self.likeness is not None:
            parts.append(str(self.likeness))
        return "; ".join(parts)


class Executor(base_executor.BaseExecutor):
    """Validates the servable, and writes the blessing."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """See `ServableValidator`. A model that fails is not blessed; only a broken environment raises."""
        settings = ServableValidatorSettings.model_validate_json(exec_properties["settings"])
        uris = {name: artifact_utils.get_single_uri(found) for name, found in input_dict.items() if found}
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        shipped = path_utils.serving_model_path(uris["model"])
        judged = path_utils.serving_model_path(uris["judged"]) if "judged" in uris else ""
        if judged and not fileio.exists(os.path.join(shipped, contract.SAVED_MODEL)):
            report = validate(judged, draw(uris["judged_examples"]), settings)
        else:
            report = validate(shipped, draw(uris["examples"]), settings)
            if judged and not report.failures:
                progress("comparing with the judged model")
                report.likeness = compare(shipped, judged, uris["examples"])
                report.failures += report.likeness.failures(settings)
        write_blessing(blessing, report)


def validate(
    servable: str, sample: Sample, settings: ServableValidatorSettings, log_path: Optional[str] = None
) -> Report:
    """Serves a servable for a moment and asks it.

    Args:
        servable: the SavedModel's folder, on any file system that TFX knows.
        sample: whom to ask for.
        settings: the limits.
        log_path: where the server's output goes, if anywhere.

    Raises:
        InputError: there is no SavedModel.
        ServerStartError: the model server can't be started at all.
    """
    if not fileio.exists(os.path.join(servable, contract.SAVED_MODEL)):
        raise InputError(f"{servable}: no SavedModel here ({contract.SAVED_MODEL} is missing)")
    with tempfile.TemporaryDirectory() as base:
        version = os.path.join(base, _MODEL, "1")
        _provide(servable, version)
        limits = _limits(version)
        if isinstance(limits, str):
            return Report([limits])
        sample = _of_served(sample, version)
        progress("starting a model server")
        server = ServerProcess(base, _MODEL, log_path=log_path, timeout=settings.load_timeout_s)
        try:
            with server:
                return _ask(server, sample, settings, limits)
        except ModelLoadError as error:
            return Report([str(error)])


def write_blessing(blessing: types.Artifact, report: Report) -> None:
    """Writes the marker file, the report and the properties of the `InfraBlessing` artifact."""
    blessed = not report.failures
    io_utils.write_string_file(os.path.join(blessing.uri, BLESSED_FILE if blessed else NOT_BLESSED_FILE), "")
    content = {"blessed": blessed, **dataclasses.asdict(report)}
    io_utils.write_string_file(os.path.join(blessing.uri, REPORT_FILE), json.dumps(content, indent=2))
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property("reasons", "\n".join(report.failures))
    blessing.set_string_custom_property("summary", report.summary)


def _ask(server: ServerProcess, sample: Sample, settings: ServableValidatorSettings, limits: Limits) -> Report:
    with (
        RecommenderClient(server.grpc_target, model=_MODEL, timeout=_REQUEST_TIMEOUT) as grpc,
        RecommenderClient(server.rest_target, model=_MODEL, transport="rest", timeout=_REQUEST_TIMEOUT) as rest,
    ):
        report = Report([])
        try:
            progress("asking over gRPC and REST")
            report.failures = checks.check(grpc, rest, sample, limits)
            report.grpc = checks.measure(grpc, sample, settings.num_requests)
            report.rest = checks.measure(rest, sample, settings.num_requests)
        except RecommenderError as error:
            report.failures.append(f"the server failed: {error}")
        report.peak_memory_mb = server.peak_memory_mb()
    report.failures += _limits_broken(report, settings)
    return report


def _limits_broken(report: Report, settings: ServableValidatorSettings) -> list[str]:
    broken = []
    if settings.max_latency_ms is not None and report.grpc and report.grpc.p99 > settings.max_latency_ms:
        broken.append(f"p99 latency {report.grpc.p99:.1f} ms, more than the {settings.max_latency_ms:g} ms allowed")
    memory = report.peak_memory_mb
    if settings.max_memory_mb is not None and memory is not None and memory > settings.max_memory_mb:
        broken.append(f"server memory {memory:,.0f} MiB, more than the {settings.max_memory_mb:,.0f} MiB allowed")
    return broken


def _provide(servable: str, version: str) -> None:
    """Puts the servable where the server looks for a version: a link, or a copy from a remote file system."""
    os.makedirs(os.path.dirname(version))
    if os.path.isdir(servable):
        os.symlink(os.path.abspath(servable), version)
    else:
        io_utils.copy_dir(servable, version)


def _of_served(sample: Sample, version: str) -> Sample:
    """The sample without the items that the servable leaves out by itself, as `serving.only_listed` asks for."""
    try:
        served = {*read_lines(Path(version, contract.ITEMS))}
    except FileNotFoundError:  # all are served
        return sample
    return dataclasses.replace(sample, items=[item for item in sample.items if item in served])


def _limits(version: str) -> Limits | str:
    """Reads the servable's own limits, or says why that fails."""
    try:
        found = contract.read_manifest(version)
        index = found.get("index", {})
        # An approximate index looks at more candidates where others of the batch exclude more; both answers lack some
        # of the exact one's items, and need not lack the same.
        alike = 2 * float(index["min_recall"]) - 1 if "min_recall" in index else 1.0
        leaves_out_all = found.get(contract.EXCLUDE, contract.ALL) == contract.ALL
        return Limits(int(found["num_items"]), int(found["default_k"]), int(found["max_k"]), alike, leaves_out_all)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{contract.MANIFEST} can't be read: {type(error).__name__} {error}"
