"""A stand-in for Dataflow's service: takes jobs over HTTP, and runs what was staged in a process on this machine.

Everything up to the service is real: the job's description, its proto, and what is staged in a bucket of Google Cloud
Storage, here an emulator's. Its workers are this process, for there is no Docker; so they see the files of a run, which
Dataflow's don't.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fsspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import environments
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

_JOBS = re.compile(r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs(?:/([^/?]+))?(/messages|/metrics)?(?:\?.*)?$")


@dataclass
class Dataflow:
    """The service."""

    url: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """As they were described, with the state of each."""
    pipelines: list[beam_runner_api_pb2.Pipeline] = field(default_factory=list)
    """What each job had staged."""
    failures: dict[str, str] = field(default_factory=dict)
    """By the job's id."""

    def create(self, project: str, region: str, description: dict[str, Any]) -> dict[str, Any]:
        """Takes a job, and runs it beside."""
        job = {
            **description,
            "id": f"job-{len(self.jobs)}",
            "projectId": project,
            "location": region,
            "currentState": "JOB_STATE_RUNNING",
        }
        self.jobs.append(job)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def _run(self, job: dict[str, Any]) -> None:
        try:
            options = job["environment"]["sdkPipelineOptions"]["options"]
            staged = fsspec.filesystem("gs").cat_file(options["pipelineUrl"])
            pipeline = beam_runner_api_pb2.Pipeline.FromString(staged)
            self.pipelines.append(pipeline)
            here = beam_runner_api_pb2.Pipeline.FromString(staged)
            for environment in here.components.environments.values():
                assert environment.urn == environments.DOCKER.urn, environment.urn
                environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
            FnApiRunner().run_via_runner_api(here, PipelineOptions([])).wait_until_finish()
            job["currentState"] = "JOB_STATE_DONE"
        except Exception:  # whatever it is: whoever waits for the job is told
            self.failures[job["id"]] = traceback.format_exc()
            job["currentState"] = "JOB_STATE_FAILED"

    def messages(self, job: str) -> list[dict[str, str]]:
        """What the service has to say of a job."""
        text = self.failures.get(job)
        if text is None:
            return []
        time = "2026-01-01T00:00:00.000Z"
        return [{"id": "1", "time": time, "messageImportance": "JOB_MESSAGE_ERROR", "messageText": text}]


@contextlib.contextmanager
def dataflow() -> Iterator[Dataflow]:
    """Starts the service, and ends it."""
    service = Dataflow()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = _JOBS.match(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found is None or found[3]:
                self.send_error(404)
            else:
                self._answer(service.create(found[1], found[2], json.loads(body)))

        def do_GET(self) -> None:
            found = _JOBS.match(self.path)
            named = [job for job in service.jobs if found and job["id"] == found[3]]
            if not named:
                self.send_error(404)
            elif found and found[4] == "/messages":
                self._answer({"jobMessages": service.messages(found[3])})
            elif found and found[4]:
                self._answer({})  # no metrics
            else:
                self._answer(named[0])

        def _answer(self, message: dict[str, Any]) -> None:
            body = json.dumps(message).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://localhost:{server.server_port}"  # Beam refuses addresses in numbers
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
