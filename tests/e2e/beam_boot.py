"""What boots a Beam worker in the tests of the portable runners: the part of the program `boot` in Beam's images, which
is there for containers alone.

It fetches what was staged for the job, installs the project from it, apart from the checkout and once for all workers
that get the same, and runs Beam's harness in a process of its own, which has imported nothing of the project. Each
worker leaves `<folder>/workers/<pid>.json` behind: which staged files it got, and where the project's modules that it
used came from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import filelock
import grpc
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_fn_api_pb2,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker_main, worker_pool_main
from google.protobuf import json_format, text_format

FOLDER = "BEAM_BOOT_FOLDER"
"""The variable of the environment that names the folder of all workers."""

BOOT = "BEAM_BOOT_EXECUTABLE"
"""The variable that says what the pool starts for a worker."""

_ROOMS = ("pipeline", "components", "serving", "kubeflow")


def pool() -> None:
    """Beam's worker pool, which starts `boot` for each worker; that is a file that does what `main` does.

    What is started with `-c` is forked by `tests/forks.py`, which has its own `_execute_child` in place.
    """
    start = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def execute_child(self: Any, args: Any, *options: Any) -> None:
        boots = args[0] == os.environ[BOOT]
        start(
            self,
            [sys.executable, "-c", "from tests.e2e.beam_boot import main; main()", *args[1:]] if boots else args,
            *options,
        )

    subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]
    # One pool stands here for those of several machines, whose workers have the same ids: told to stop one, it would
    # stop another machine's. A worker ends by itself when its runner hangs up.
    servicer = worker_pool_main.BeamFnExternalWorkerPoolServicer
    servicer.StopWorker = lambda *_: beam_fn_api_pb2.StopWorkerResponse()
    worker_pool_main.main(sys.argv)


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
    site = _install(work / "staged" / "workflow.tar.gz", place) if "workflow.tar.gz" in staged else work
    os.environ.update(
        WORKER_ID=options.id,
        PIPELINE_OPTIONS=json_format.MessageToJson(provision.pipeline_options),
        SEMI_PERSISTENT_DIRECTORY=str(work),
        LOGGING_API_SERVICE_DESCRIPTOR=_descriptor(options.logging_endpoint),
        CONTROL_API_SERVICE_DESCRIPTOR=_descriptor(options.control_endpoint),
        RUNNER_CAPABILITIES=" ".join(provision.runner_capabilities),
    )
    os.chdir(work)
    sys.path[:] = [str(site), *(path for path in sys.path if path and not Path(path, "tests", "e2e").is_dir())]
    # The pool doesn't read what its workers print.
    log = os.open(place / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        sdk_worker_main.main([])
    finally:
        named = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        modules = {name: file for name, file in named.items() if name.split(".")[0] in _ROOMS}
        about = {"staged": staged, "modules": modules}
        (place / "workers" / f"{os.getpid()}.json").write_text(json.dumps(about))
        os._exit(0)


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


def _install(archive: Path, place: Path) -> Path:
    """Installs the staged project, as the image's boot does, but into a folder of its own, which is returned."""
    site = place / "sites" / hashlib.sha256(archive.read_bytes()).hexdigest()
    site.parent.mkdir(exist_ok=True)
    with filelock.FileLock(f"{site}.lock"):
        if not site.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
            new = site.with_suffix(".new")
            subprocess.run([*pip, f"--target={new}", str(archive)], check=True, stdout=subprocess.DEVNULL)
            new.rename(site)
    return site
