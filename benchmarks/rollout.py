"""Versions pushed, tried, promoted and rolled back under constant load, by promoters some of which are killed.

    python -m benchmarks.rollout

Four gRPC and four REST clients ask by the labels `stable` and `canary` and without a label, each at a steady rate,
without retries. Meanwhile each round publishes a version, gives it to `canary`, promotes it to `stable`, rolls back,
and retires it; in every other round promoters are killed (SIGKILL) at random moments and run again. An answer's scores
tell which version gave it. It is wrong if that version had the label (or, without a label, was the newest one loaded)
at no time while the request ran; while a promoter works, both the old and the new one are right.

A latency counts from the moment at which the request was due, so a stall isn't hidden by the requests that it holds up.
Exit code 1 if a request failed or was answered by a wrong version.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

MODEL = "rollout"
CLIENTS = [
    ("grpc", "stable"),
    ("grpc", "canary"),
    ("grpc", None),
    ("grpc", "stable"),
    ("rest", "stable"),
    ("rest", "canary"),
    ("rest", None),
    ("rest", "canary"),
]
_STABLE = 2
"""What each round begins with and returns to; version 1 was stable before, so a rollback done twice would show."""
_WARM_UP = 5.0
_NICE = 10  # of what runs on other machines where versions are made and promoted
_PAUSE = 0.5  # seconds between two actions, so that each state is asked
_TIMEOUT = 10.0
# What a promoter's process runs: an action of the library that `recommender promote` and its like call.
_PROMOTER = """
import sys
from pathlib import Path
from serving.promotion import Promoter, WrongPromotion
base, model, target, action, *rest = sys.argv[1:]
promoter = Promoter(Path(base), model, [target], why="rollout under load", say=lambda text: print(text, flush=True))
print("starts", flush=True)
actions = {
    "promote": lambda version, label: promoter.promote(int(version), label),
    "rollback": promoter.rollback,
    "retire": lambda version: promoter.retire(int(version)),
}
try:
    actions[action](*rest)
except WrongPromotion as error:
    print(error)
    sys.exit(2)
"""


@dataclass
class Request:
    """One request of a client."""

    transport: str
    label: Optional[str]
    due: float
    """All moments are seconds of the system's monotonic clock."""
    start: float
    end: float
    version: int = 0
    error: str = ""


@dataclass
class Phase:
    """A stretch of time and the versions that may answer each label; None stands for requests without one."""

    start: float
    right: dict[Optional[str], set[int]]
    end: float = float("inf")
    action: str = ""
    """What a promoter does meanwhile, if one does."""


@dataclass
class Outcome:
    """What came of it."""

    requests: list[Request]
    phases: list[Phase]
    kills: dict[str, int] = field(default_factory=dict)
    """How many promoters were killed after which of their steps."""
    calm: tuple[float, float] = (0.0, 0.0)
    """Before the first round, from the end of the warm-up on."""
    rounds: tuple[float, float] = (0.0, 0.0)

    def failed(self) -> list[Request]:
        """Requests without an answer."""
        return [request for request in self.requests if request.error]

    def wrong(self) -> list[Request]:
        """Requests that a version answered which had no right to."""
        return [r for r in self.requests if not r.error and not is_right(r, self.phases)]

    def p99_by_second(self, between: tuple[float, float]) -> np.ndarray:
        """The 99th percentile of the latencies of each second, in ms."""
        seconds = collections.defaultdict(list)
        for request in self.requests:
            if between[0] <= request.due < between[1]:
                seconds[int(request.due - between[0])].append(1000 * (request.end - request.due))
        return np.array([np.percentile(latencies, 99) for latencies in seconds.values()])


def is_right(request: Request, phases: list[Phase]) -> bool:
    """Whether the version that answered had the label at some time while the request ran."""
    during = [phase for phase in phases if phase.start <= request.end and phase.end >= request.start]
    return any(request.version in phase.right[request.label] for phase in during)


def main() -> None:
    """Runs the rollout and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--items", type=int, default=60_000, help="items of the model, 64 dimensions each")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second of each of the eight clients")
    parser.add_argument("--calm", type=float, default=20.0, help="seconds of load before the first round")
    parser.add_argument("--seed", type=int, default=0, help="decides when promoters are killed")
    parser.add_argument("--server", help="path of a tensorflow_model_server; by default the embedded server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), **vars(arguments), say=lambda text: print(text, flush=True))
    print(summary(outcome))
    sys.exit(bool(outcome.failed() or outcome.wrong()))


def run(
    base: Path,
    rounds: int,
    items: int,
    rate: float,
    calm: float,
    seed: int,
    server: Optional[str] = None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Runs the rollout in an empty folder; the arguments are those of the command line."""
    from serving.server.process import EMBEDDED, ServerProcess

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    models, stop = base / "models", base / "stop"
    flags = ["--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=2"]
    with contextlib.ExitStack() as stack:
        pusher = stack.enter_context(_Pusher(base, items))
        for version in (1, _STABLE):
            pusher.push(version)
        say(f"the model: {items:,} items, {pusher.mebibytes():.0f} MiB")
        process = stack.enter_context(ServerProcess(models, MODEL, binary=server or EMBEDDED, flags=flags))
        rollout = _Rollout(models, pusher, process.grpc_target, random.Random(seed))
        pool = stack.enter_context(ProcessPoolExecutor(len(CLIENTS), get_context("spawn")))
        targets = {"grpc": process.grpc_target, "rest": process.rest_target}
        asking = [pool.submit(ask, kind, targets[kind], label, rate, stop) for kind, label in CLIENTS]
        try:
            time.sleep(_WARM_UP)
            marks = [time.monotonic()]
            time.sleep(calm)
            marks.append(time.monotonic())
            for number in range(1, rounds + 1):
                rollout.round(_STABLE + number, killing=number % 2 == 0)
                say(f"round {number} of {rounds}: {time.monotonic() - marks[1]:.0f} s")
            marks.append(time.monotonic())
        finally:
            stop.touch()
        requests = [request for clients in asking for request in clients.result()]
    return Outcome(requests, rollout.phases, rollout.kills, (marks[0], marks[1]), (marks[1], marks[2]))


class _Pusher:
    """Publishes versions of one model, from a process of its own that has TensorFlow loaded."""

    def __init__(self, base: Path, items: int):
        self._template, self._copy, self._models = base / "template", base / "copy", base / "models" / MODEL
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), os.nice, (_NICE,))
        self._pool.submit(_write_template, self._template, items).result()
        self._models.mkdir(parents=True)

    def __enter__(self) -> _Pusher:
        return self

    def __exit__(self, *_: Any) -> None:
        self._pool.shutdown()

    def mebibytes(self) -> float:
        """Size of a version."""
        return sum(file.stat().st_size for file in self._template.rglob("*")) / 2**20

    def push(self, version: int) -> None:
        """Publishes a version by rename, as the pipeline's Pusher does."""
        self._pool.submit(_write_version, self._template, self._copy, version).result()
        self._copy.rename(self._models / str(version))


class _Rollout:
    """Pushes versions and runs promoters, and notes which versions may answer when."""

    def __init__(self, models: Path, pusher: _Pusher, target: str, chance: random.Random):
        from serving.promotion import Replica

        self._pusher, self._chance = pusher, chance
        self._models = models
        self._arguments = [str(models), MODEL, target]
        self._replica = Replica(target)
        self._seconds: dict[str, float] = {}
        self.kills: dict[str, int] = collections.Counter()
        for version, label in ((1, "stable"), (_STABLE, "stable"), (_STABLE, "canary")):
            code, steps, _ = self._promoter(["promote", str(version), label])
            if code:
                raise RuntimeError("\n".join(steps))
        self.phases = [Phase(time.monotonic(), {"stable": {_STABLE}, "canary": {_STABLE}, None: {_STABLE}})]

    def round(self, version: int, killing: bool) -> None:
        """Push, canary, promote, rollback, retire; `killing`: two of the promoters are killed first."""
        self._pusher.push(version)
        actions: list[tuple[list[str], dict[Optional[str], int]]] = [
            (["promote", str(version), "canary"], {"canary": version, None: version}),
            (["promote", str(version), "stable"], {"stable": version, "canary": version, None: version}),
            (["rollback"], {"stable": _STABLE, "canary": _STABLE}),
            (["retire", str(version)], {"stable": _STABLE, "canary": _STABLE, None: _STABLE}),
        ]
        doomed = self._chance.sample(range(len(actions)), 2) if killing else []
        for number, (action, after) in enumerate(actions):
            self._act(action, after, kill=number in doomed)
            time.sleep(_PAUSE)

    def _act(self, action: list[str], after: dict[Optional[str], int], kill: bool = False) -> None:
        """Runs a promoter, before it perhaps one that is killed; `after` is what labels must point to then."""
        during = {label: set(versions) for label, versions in self.phases[-1].right.items()}
        for label, version in after.items():
            during[label].add(version)
        if None not in after:
            during[None] |= self._loaded() | {after["stable"]}
        self._phase(during, " ".join(action))
        if kill:
            code, steps, _ = self._promoter(action, kill_after=self._chance.uniform(0, self._seconds[action[0]]))
            if code < 0:  # it wasn't done yet
                self.kills[steps[-1].rpartition(": ")[2]] += 1
        # A rollback that is done must not be run again, or it goes further back: `recommender history` tells.
        if not (kill and action == ["rollback"] and self._is_done("stable", _STABLE)):
            code, steps, seconds = self._promoter(action)
            # 2: nothing was left to do, because the killed one, or putting right what it left, had done it all.
            if code not in ((0, 2) if kill else (0,)):
                raise RuntimeError("\n".join([f"{' '.join(action)} failed:", *steps]))
            if not kill:
                self._seconds[action[0]] = seconds
        right: dict[Optional[str], set[int]] = {None: {max(self._loaded())}}
        right |= {label: {self._replica.labelled(MODEL, label)} for label in ("stable", "canary")}
        wanted = {label: {version} for label, version in after.items()}
        if {**right, **wanted} != right:
            raise RuntimeError("\n".join([f"after {' '.join(action)}: {right}, not {wanted}:", *steps]))
        self._phase(right)

    def _promoter(self, action: list[str], kill_after: Optional[float] = None) -> tuple[int, list[str], float]:
        """Runs a promoter; returns its exit code, what it said, and the seconds that it worked."""
        command = ["nice", f"-{_NICE}", sys.executable, "-c", _PROMOTER, *self._arguments, *action]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as promoter:
            assert promoter.stdout is not None
            first = promoter.stdout.readline().strip()  # it has imported what it needs
            begins = time.monotonic()
            if kill_after is not None:
                threading.Timer(kill_after, promoter.kill).start()
            steps = [first, *promoter.stdout.read().splitlines()]
        return promoter.returncode, steps, time.monotonic() - begins

    def _is_done(self, label: str, version: int) -> bool:
        """Whether the label is there and no action is under way."""
        from serving.promotion import files

        return files.read_journal(self._models) is None and self._replica.labelled(MODEL, label) == version

    def _loaded(self) -> set[int]:
        states = self._replica.states(MODEL)
        return {version for version, status in states.items() if status.available}

    def _phase(self, right: dict[Optional[str], set[int]], action: str = "") -> None:
        now = time.monotonic()
        self.phases[-1].end = now
        self.phases.append(Phase(now, right, action=action))


def ask(transport: str, target: str, label: Optional[str], rate: float, stop: Path) -> list[Request]:
    """A client: asks at a steady rate until the file `stop` appears."""
    call = (_grpc_call if transport == "grpc" else _rest_call)(target, label)
    requests = []
    due = time.monotonic() + random.random() / rate
    while not stop.exists():
        time.sleep(max(0.0, due - time.monotonic()))
        request = Request(transport, label, due, time.monotonic(), 0.0)
        try:
            request.version = call()
        except Exception as error:  # whatever it is, the request failed
            request.error = f"{type(error).__name__}: {error}"[:300]
        request.end = time.monotonic()
        requests.append(request)
        due += 1 / rate
    return requests


def _grpc_call(target: str, label: Optional[str]) -> Callable[[], int]:
    import grpc

    from serving.protos import serving_pb2

    request = serving_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL, "recommend"
    if label:
        request.model_spec.version_label = label
    for name, shape in (("user_id", [1]), ("history", [1, 0]), ("exclude", [1, 0]), ("k", [])):
        tensor = request.inputs[name]
        tensor.dtype = serving_pb2.DT_INT32 if name == "k" else serving_pb2.DT_STRING
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    request.inputs["user_id"].string_val.append(b"nobody")
    request.inputs["k"].int_val.append(10)
    channel = grpc.insecure_channel(target)
    predict = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        serving_pb2.PredictRequest.SerializeToString,
        serving_pb2.PredictResponse.FromString,
    )

    def call() -> int:
        response = predict(request, timeout=_TIMEOUT)
        version = version_of(response.outputs["scores"].float_val[0])
        if version != response.model_spec.version.value:
            raise ValueError(f"version {version} answered as {response.model_spec.version.value}")
        return version

    return call


def _rest_call(target: str, label: Optional[str]) -> Callable[[], int]:
    host, port = target.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT)
    path = f"/v1/models/{MODEL}{f'/labels/{label}' if label else ''}:predict"
    inputs = {"user_id": ["nobody"], "history": [[]], "exclude": [[]], "k": 10}
    body = json.dumps({"signature_name": "recommend", "inputs": inputs})

    def call() -> int:
        connection.request("POST", path, body)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise ValueError(f"{response.status}: {content[:200]!r}")
        return version_of(json.loads(content)["outputs"]["scores"][0][0])

    return call


def version_of(score: float) -> int:
    """The version that gave this score to the most popular item."""
    return int(score // 1000)


def _write_template(path: Path, items: int) -> None:
    from benchmarks.serving_model import write_model

    write_model(path, items)


def _write_version(template: Path, path: Path, version: int) -> None:
    """Copies the template with other popularities: version * 1000 for all items."""
    import tensorflow as tf

    shutil.copytree(template, path)
    prefix = str(path / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    (table,) = (tensor for name, tensor in tensors.items() if name.startswith("_retrieval/items/table/"))
    table[:, -1] = 1000 * version  # components/indexer/items.py: the last column is the popularity
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(tensors), shape_and_slices=[""] * len(tensors), tensors=list(tensors.values())
    )


def summary(outcome: Outcome) -> str:
    """The figures as text."""
    failed, wrong = outcome.failed(), outcome.wrong()
    lines = [
        f"{len(outcome.requests):,} requests by {len(CLIENTS)} clients, {len(failed)} failed,"
        f" {len(wrong)} answered by a wrong version",
        f"{sum(outcome.kills.values())} promoters killed: "
        + ", ".join(f"{count} after {step!r}" for step, count in sorted(outcome.kills.items())),
        f"{'':16}{'seconds':>8}{'median of p99':>16}{'highest p99':>14}{'ratio':>8}",
    ]
    for name, between in (("before the rounds", outcome.calm), ("in the rounds", outcome.rounds)):
        p99 = outcome.p99_by_second(between)
        lines.append(
            f"{name:17}{len(p99):7}{np.median(p99):13.1f} ms{p99.max():11.1f} ms{p99.max() / np.median(p99):8.1f}"
        )
    lines += [f"failed: {request}" for request in failed[:5]]
    lines += [f"wrong: {request}" for request in wrong[:5]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
