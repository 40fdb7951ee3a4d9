"""What boots a Beam worker in the tests of the portable runners: the part of the program `boot` in Beam's images, which
is there for containers alone.

It fetches what was staged for the job, installs the project from it, apart from the checkout, and runs Beam's harness
in a process of its own. Each worker leaves `<folder>/workers/<pid>.json` behind: which staged files it got, and where
the project's modules that it used came from.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format

FOLDER = "BEAM_BOOT_FOLDER"
"""The variable of the environment that names the folder of all workers."""

_ROOMS = ("pipeline", "components", "serving", "kubeflow")
_HARNESS = f"""
import json, os, sys
from apache_beam.runners.worker import sdk_worker_main
try:
    sdk_worker_main.main(sys.argv)
finally:
    rooms = {_ROOMS!r}
    modules = {{n: getattr(m, "__file__", None) for n, m in list(sys.modules.items()) if n.split(".")[0] in rooms}}
    about = {{"staged": sys.argv[2:], "modules": modules}}
    with open(f"{{sys.argv[1]}}/workers/{{os.getpid()}}.json", "w") as file:
        json.dump(about, file)
    os._exit(0)
"""


def main() -> None:
    """Boots one worker, called as Beam calls its container."""
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    place = Path(os.environ[FOLDER])
    work = Path(tempfile.mkdtemp(dir=place))
    provision = _provision(_local(options.provision_endpoint), options.id)
    staged = _fetch(_local(options.artifact_endpoint), provision, work / "staged")
    site = work / "site"
    if "workflow.tar.gz" in staged:
        _install(work / "staged" / "workflow.tar.gz", site)
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "WORKER_ID": options.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(provision.pipeline_options),
        "SEMI_PERSISTENT_DIRECTORY": str(work),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(options.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(options.control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(provision.runner_capabilities),
    }
    os.chdir(work)
    # The pool doesn't read what its workers print.
    log = os.open(place / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execve(sys.executable, [sys.executable, "-c", _HARNESS, str(place), *staged], environment)


def _local(address: str) -> str:
    """The address on the loopback, instead of by the machine's name."""
    return f"localhost:{address.rpartition(':')[2]}"


def _descriptor(address: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=_local(address)))


def _provision(address: str, worker: str) -> beam_provision_api_pb2.ProvisionInfo:
    """What the runner has for the worker."""
    with grpc.insecure_channel(address) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return stub.GetProvisionInfo(request, metadata=[("worker_id", worker)]).info


def _fetch(address: str, provision: beam_provision_api_pb2.ProvisionInfo, folder: Path) -> list[str]:
    """Writes the job's staged files into a folder; returns their names."""
    folder.mkdir()
    names = []
    with grpc.insecure_channel(address) as channel:
        stub = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel)
        request = beam_artifact_api_pb2.ResolveArtifactsRequest(artifacts=provision.dependencies)
        for artifact in stub.ResolveArtifacts(request).replacements:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload)
            names.append(role.staged_name)
            with open(folder / role.staged_name, "wb") as file:
                for part in stub.GetArtifact(beam_artifact_api_pb2.GetArtifactRequest(artifact=artifact)):
                    file.write(part.data)
    return names


def _install(archive: Path, site: Path) -> None:
    """Installs the staged project, as the image's boot does, but into a folder of the worker."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, f"--target={site}", str(archive)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
