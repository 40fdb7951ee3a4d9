"""The workers of a training: who they are, from `TF_CONFIG` or on this machine alone, and the processes that they are.

TensorFlow can only join a cluster before it has done anything else, so every worker is a process of its own, and the
one that runs the Trainer watches: what becomes of any worker, the training ends with one message, and no process stays
behind. Free of TensorFlow, because the command line imports it.
"""

from __future__ import annotations

import glob
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.progress import progress
from pipeline.model.job import Job
from serving.files import write_atomically

TF_CONFIG = "TF_CONFIG"

INPUT, PORT, LOST, OTHER = "input", "port", "lost", "other"
"""Why a worker failed: wrong input, a port that is taken, another worker that is gone, or anything else."""

JOB_FILE = "workers.json"
"""In the folder of checkpoints: what the chief trains, for the workers on other machines."""

_ADDRESS = re.compile(r"[^\s:/]+:[0-9]{1,5}")
_ATTEMPTS = 3
"""How often free ports are looked for: another process may take one before the worker does."""
_GRACE = 5.0
"""Seconds in which, after a worker has lost another one, that one may say why it failed."""
_LOOK = 1.0
"""Seconds between two looks for the chief's job."""


class WorkerError(RuntimeError):
    """A worker failed, or was killed; the message is for the person at the terminal."""


class _PortTakenError(WorkerError):
    """A worker's port is in use."""


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, as one of them knows it."""

    workers: tuple[str, ...]
    """`host:port` of each, the chief first."""
    index: int
    """Which one this is."""

    @property
    def is_chief(self) -> bool:
        """Whether this one writes what the training comes to."""
        return self.index == 0

    def to_json(self) -> str:
        """As the value of `TF_CONFIG`."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def from_environment(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster of `TF_CONFIG`; None where it is not set or names one worker only.

    Raises:
        InputError: It is set, but not to what a training can use.
    """
    text = environment.get(TF_CONFIG, "").strip()
    if not text:
        return None
    example = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster") or {}, config.get("task") or {}
        jobs = {job: tuple(addresses) for job, addresses in cluster.items()}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{TF_CONFIG}: can't be read ({error}); expected such as {example}") from None
    others = sorted(set(jobs) - {"worker"})
    if others or kind != "worker":
        named = ", ".join(others) or kind
        raise InputError(f"{TF_CONFIG}: knows {named}; a training has workers only, of which worker 0 is the chief")
    workers = jobs.get("worker", ())
    for address in workers:
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address) or int(address.split(":")[1]) > 65535:
            raise InputError(f"{TF_CONFIG}: cluster.worker has {address!r}, which is no host:port")
    if len(set(workers)) < len(workers):
        raise InputError(f"{TF_CONFIG}: cluster.worker has an address twice: {', '.join(workers)}")
    if workers and not 0 <= index < len(workers):
        raise InputError(f"{TF_CONFIG}: task.index {index}: there are workers 0 to {len(workers) - 1}")
    return Cluster(workers, index) if len(workers) > 1 else None


def on_this_machine(count: int) -> list[Cluster]:
    """Clusters of `count` workers at free ports of the loopback interface, one for each worker."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        workers = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    return [Cluster(workers, index) for index in range(count)]


def train_on_workers(job: Job) -> bool:
    """Trains in processes of their own, if `TF_CONFIG` or `training.workers` ask for more than one worker.

    Args:
        job: The training.

    Returns:
        Whether it did; else the caller is the only worker.

    Raises:
        InputError: What was asked for can't be, or a worker found its input wrong.
        WorkerError: A worker failed.
    """
    training = job.settings.training
    count = training.workers
    cluster = from_environment(os.environ)
    if cluster is None and count == 1:
        return False
    if cluster is not None and job.judged:
        return False  # the other machines have ended with the training that was judged
    if cluster is None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / JOB_FILE
            write_job(file, job)
            _train_here(file, count)
        return True
    if count > 1:
        raise InputError(f"training.workers {count}: {TF_CONFIG} names the workers already; set it to 1, or unset that")
    if job.settings.model.history == "transformer":
        raise InputError(f"model.history transformer: whole sequences are not shared among workers; unset {TF_CONFIG}")
    if training.jit_compile:
        raise InputError("training.jit_compile: XLA can't compile steps that several workers share; set it to false")
    if not job.settings.checkpoints:
        raise InputError(f"{TF_CONFIG}: there is no shared folder to tell the other workers what to train")
    file = Path(job.settings.checkpoints) / JOB_FILE
    write_job(file, job)
    progress(f"waiting for the other workers: {', '.join(cluster.workers[1:])}")
    try:
        watch(file, [cluster])
    finally:
        file.unlink(missing_ok=True)
    return True


def assist(folder: Path, cluster: Cluster) -> None:
    """Takes part in the chief's next training as another worker than the chief, and returns when it is done.

    Args:
        folder: The chief's folder of checkpoints, on a file system that all share.
        cluster: Says which worker.

    Raises:
        InputError: The training's input is wrong.
        WorkerError: A worker failed.
    """
    file = folder / JOB_FILE
    progress(f"worker {cluster.index}: waiting for the Trainer of worker 0, {cluster.workers[0]}")
    while not file.exists():
        time.sleep(_LOOK)
    progress(f"worker {cluster.index}: training with worker 0, {cluster.workers[0]}")
    watch(file, [cluster])


def watch(file: Path, clusters: Sequence[Cluster]) -> None:
    """Runs workers to their end. As soon as one fails all are killed.

    Args:
        file: What to train, as `write_job` writes it.
        clusters: The workers on this machine. What the first says of its progress is passed on.

    Raises:
        InputError: A worker found its input wrong.
        WorkerError: A worker failed.
    """
    processes: list[subprocess.Popen[str]] = []
    heard: queue.SimpleQueue[tuple[int, dict[str, str] | None]] = queue.SimpleQueue()
    errors: dict[int, dict[str, str]] = {}
    codes: dict[int, int] = {}
    give_up = float("inf")
    try:
        for place, environment in enumerate(environments(clusters, os.environ)):
            processes.append(_start(file, environment))
            threading.Thread(target=_listen, args=(place, processes[place], heard), daemon=True).start()
        while len(codes) < len(processes):
            try:
                left = None if give_up == float("inf") else max(0.0, give_up - time.monotonic())
                place, message = heard.get(timeout=left)
            except queue.Empty:
                break
            if message is None:
                codes[place] = processes[place].wait()
                if codes[place]:
                    lost = errors.get(place, {}).get("kind") == LOST
                    give_up = min(give_up, time.monotonic() + (_GRACE if lost else 0))
            elif "error" in message:
                errors[place] = message
            elif place == 0:
                progress(message["progress"])
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
    if any(codes.values()):
        raise _reason(clusters, codes, errors)


def environments(clusters: Sequence[Cluster], environment: Mapping[str, str]) -> list[dict[str, str]]:
    """The environments of workers on one machine, which share its cores and its GPUs.

    Raises:
        InputError: The GPUs can't be shared evenly, which TensorFlow asks for.
    """
    count = len(clusters)
    checkout = str(Path(__file__).resolve().parents[3])
    python_path = os.pathsep.join(filter(None, (checkout, environment.get("PYTHONPATH"))))
    made = [{**environment, "PYTHONPATH": python_path, TF_CONFIG: cluster.to_json()} for cluster in clusters]
    if count == 1:
        return made
    named = environment.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]
    if named is not None:
        gpus = [gpu for gpu in named.split(",") if gpu.strip() not in ("", "-1")]
    if len(gpus) % count:
        raise InputError(
            f"training.workers {count}: {len(gpus)} GPUs can't be shared evenly; change it, or CUDA_VISIBLE_DEVICES"
        )
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    for place, each in enumerate(made):
        each.setdefault("TF_NUM_INTRAOP_THREADS", threads)
        if gpus:
            each["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[place::count])
    return made


def _train_here(file: Path, count: int) -> None:
    for attempt in range(_ATTEMPTS):
        progress(f"starting {count} workers")
        try:
            watch(file, on_this_machine(count))
        except _PortTakenError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break


def write_job(file: Path, job: Job) -> None:
    """Writes what `watch` takes, by rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, job.model_dump_json())


def _start(file: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.model.workers.worker", str(file)],
        env=environment,
        stdin=subprocess.PIPE,  # the worker ends when this is closed, as it is when this process ends in any way
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for this process, which then ends the workers
    )


def _listen(place: int, process: subprocess.Popen[str], heard: queue.SimpleQueue[Any]) -> None:
    """Passes on what a worker says; None at its end."""
    assert process.stdout is not None
    for line in process.stdout:
        heard.put((place, json.loads(line)))
    heard.put((place, None))


def _reason(clusters: Sequence[Cluster], codes: Mapping[int, int], errors: Mapping[int, dict[str, str]]) -> Exception:
    """Of all that went wrong what came first: when a worker fails, the others lose it."""
    failed = [place for place, code in codes.items() if code]

    def first(kind: str) -> int | None:
        return next((place for place in failed if errors.get(place, {}).get("kind") == kind), None)

    place = first(INPUT)
    if place is not None:
        return InputError(errors[place]["error"])
    place = first(PORT)
    if place is not None:
        return _PortTakenError(errors[place]["error"])
    again = "run it again to go on after the last pass that was saved"
    place = next((place for place in failed if place not in errors), None)
    if place is not None:
        code, index = codes[place], clusters[place].index
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        memory = " (the system does that when memory runs out)" if code == -signal.SIGKILL else ""
        return WorkerError(f"worker {index} of the training {how}{memory}; {again}")
    place = first(OTHER)
    if place is not None:
        return WorkerError(f"worker {clusters[place].index} of the training failed: {errors[place]['error']}")
    place = failed[0]
    return WorkerError(
        f"worker {clusters[place].index} of the training can't reach another one any more: "
        f"{errors[place]['error']}; start all of them again to go on after the last pass that was saved"
    )
