"""A stand-in of the API of Kubeflow Pipelines 2 on loopback: what `submit` uses of it, as the real one answers.

It is strict where the real one is: names that exist, things that don't, cron expressions, credentials.
"""

from __future__ import annotations

import copy
import email
import email.policy
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]

_TIME = "2026-11-22T03:00:00Z"


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class KfpApi:
    """The server, and what was uploaded and asked for."""

    def __init__(self) -> None:
        self.multi_user = False
        self.authorized: Callable[[Any], bool] = lambda headers: True
        self.failures: dict[str, list[tuple[int, str]]] = {}
        """Answers to give instead, by "METHOD resource"; taken from the front."""
        self.requests: list[str] = []
        self.headers: list[Any] = []
        self.experiments: list[Json] = []
        self.pipelines: list[Json] = []
        self.versions: list[Json] = []
        self.uploads: list[str] = []
        self.runs: list[Json] = []
        self.recurring_runs: list[Json] = []
        self.progress: list[Json] = []
        """What a run that is looked at has become; taken from the front, the last one stays."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                try:
                    status, content = api.answer(self.command, url.path, query, self.headers, body)
                except Refused as error:
                    status, content = error.status, json.dumps({"error": str(error), "message": str(error)}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _answer

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> KfpApi:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, query: Json, headers: Any, body: bytes) -> tuple[int, bytes]:
        prefix, _, resource = path.partition("/apis/v2beta1/")
        if prefix or not resource:
            raise Refused(404, "Not Found")
        self.requests.append(f"{method} {resource}")
        self.headers.append(headers)
        for key, answers in self.failures.items():
            if re.fullmatch(key, f"{method} {resource}") and answers:
                status, text = answers.pop(0)
                return status, text.encode()
        if not self.authorized(headers):
            raise Refused(401, "Unauthenticated: request has no valid credentials")
        if resource == "healthz":
            return 200, json.dumps({"multi_user": self.multi_user}).encode()
        return 200, json.dumps(self._resource(method, resource, query, headers, body)).encode()

    def _resource(self, method: str, resource: str, query: Json, headers: Any, body: bytes) -> Any:
        if resource == "pipelines/upload":
            self._parse(headers, body)
            pipeline = self._new(self.pipelines, "pipeline_id", query["name"], namespace=query.get("namespace", ""))
            self._version(pipeline["pipeline_id"], query["name"])
            return pipeline
        if resource == "pipelines/upload_version":
            self._parse(headers, body)
            self._find(self.pipelines, "pipeline_id", query["pipelineid"])
            return self._version(query["pipelineid"], query["name"])
        kind, *rest = resource.split("/")
        if kind == "pipelines" and rest[1:] == ["versions"]:
            return self._page("pipeline_versions", self.versions, query, pipeline_id=rest[0])
        things, key = {
            "experiments": (self.experiments, "experiment_id"),
            "pipelines": (self.pipelines, "pipeline_id"),
            "runs": (self.runs, "run_id"),
            "recurringruns": (self.recurring_runs, "recurring_run_id"),
        }[kind]
        if not rest and method == "GET":
            wanted = {name: query[name] for name in ("experiment_id", "namespace") if query.get(name)}
            return self._page({"recurringruns": "recurringRuns"}.get(kind, kind), things, query, **wanted)
        if not rest:
            return self._create(kind, things, key, json.loads(body))
        thing = self._find(things, key, rest[0].partition(":")[0])
        if rest[0].endswith(":enable"):
            thing["mode"] = "ENABLE"
            return {}
        if method == "DELETE":
            things.remove(thing)
            return {}
        if kind == "runs" and self.progress:
            thing.update(self.progress.pop(0) if len(self.progress) > 1 else self.progress[0])
        return thing

    def _create(self, kind: str, things: list[Json], key: str, content: Json) -> Json:
        if kind != "experiments":
            reference = content["pipeline_version_reference"]
            self._find(self.versions, "pipeline_version_id", reference["pipeline_version_id"])
            self._find(self.experiments, "experiment_id", content["experiment_id"])
        if kind == "recurringruns" and len(content["trigger"]["cron_schedule"]["cron"].split()) not in (5, 6):
            raise Refused(400, "Schedule cron is not a supported format. Error: Expected 5 to 6 fields")
        if kind == "experiments" and self.multi_user and not content.get("namespace"):
            raise Refused(400, "Invalid input error: namespace is empty")
        if kind != "experiments":
            content.setdefault("service_account", "pipeline-runner")
        return self._new(things, key, content["display_name"], **content)

    def _new(self, things: list[Json], key: str, name: str, **content: Any) -> Json:
        if things in (self.pipelines, self.experiments) and any(thing["display_name"] == name for thing in things):
            raise Refused(409, f"Already exist error: {name}")
        self._count = getattr(self, "_count", 0) + 1
        thing = {**content, key: f"id-{self._count}", "display_name": name, "created_at": _TIME}
        things.append(thing)
        return thing

    def _version(self, pipeline: str, name: str) -> Json:
        if any(version["pipeline_id"] == pipeline and version["display_name"] == name for version in self.versions):
            raise Refused(409, f"Already exist error: {name}")
        self.uploads.append(name)
        return self._new(self.versions, "pipeline_version_id", name, pipeline_id=pipeline)

    @staticmethod
    def _parse(headers: Any, body: bytes) -> None:
        """Reads the uploaded file as the real one does: it must be a pipeline."""
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        (part,) = message.iter_parts()
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        if not str(part.get_filename()).endswith(".yaml"):
            raise Refused(400, "Failed to read a pipeline spec file")
        spec, *_ = yaml.safe_load_all(part.get_payload(decode=True))
        if "pipelineInfo" not in spec:
            raise Refused(400, "Failed to create a pipeline: no pipelineInfo")

    @staticmethod
    def _find(things: list[Json], key: str, value: str) -> Json:
        for thing in things:
            if thing[key] == value:
                return thing
        raise Refused(404, f"{key} {value} not found")

    @staticmethod
    def _page(name: str, things: list[Json], query: Json, **wanted: str) -> Json:
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            assert predicate["operation"] in (1, "EQUALS"), predicate
            wanted[predicate["key"]] = predicate["stringValue"]
        found = [thing for thing in things if all(thing.get(key) == value for key, value in wanted.items())]
        if query.get("sort_by") == "created_at desc":
            found.reverse()
        # A copy: what is answered doesn't change with the thing.
        return {name: copy.deepcopy(found[: int(query.get("page_size") or 10)])} if found else {}
