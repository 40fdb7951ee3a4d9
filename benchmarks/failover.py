"""Replicas that are killed, started again, stopped and woken under constant load: what the callers see of it.

    python -m benchmarks.failover

Two, then three embedded servers with a servable of random weights (see serving_model.py) are asked by one client, with
its defaults but for the time-out, from several threads at a steady rate, over gRPC and then over REST:

    calm       all replicas are well
    killed     one is killed (SIGKILL)
    again      it is started again, on the same ports
    hangs      another one is stopped (SIGSTOP): its port takes connections, and nothing answers
    woken      it goes on (SIGCONT)

A latency counts from the moment at which the call was due, so that one which holds up the next ones isn't hidden. Exit
code 1 if a call failed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import serving
from benchmarks.serving_load import MODEL, Query, queries

TRANSPORTS = ("grpc", "rest")
_THREADS = 16
_PARTS = ("calm", "killed", "again", "hangs", "woken")


class Call(NamedTuple):
    """A call of the client."""

    part: str
    """One of `_PARTS`, in which it was due."""
    seconds: float
    """From when it was due until its end."""
    error: str
    """The error's class and message; empty if it was answered."""


@dataclass(frozen=True)
class Outcome:
    """What came of one transport and number of replicas."""

    transport: str
    replicas: int
    calls: list[Call]
    events: dict[str, int]
    """The client's: retries, fail-overs."""

    def failed(self) -> list[Call]:
        """Calls without an answer."""
        return [call for call in self.calls if call.error]


class Load:
    """A client that is called at a steady rate from several threads, until it is stopped; a context manager.

    Args:
        client: a RecommenderClient.
        asked: users and histories, in turn.
        rate: calls a second in all.
    """

    def __init__(self, client: Any, asked: Sequence[Query], rate: float):
        self.part = _PARTS[0]
        self.calls: list[Call] = []
        self._client = client
        self._asked = asked
        self._over = threading.Event()
        self._start = time.monotonic()
        gap = _THREADS / rate
        self._threads = [
            threading.Thread(target=self._run, args=(number, number * gap / _THREADS, gap))
            for number in range(_THREADS)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, first: float, gap: float) -> None:
        for turn in itertools.count():
            due = self._start + first + turn * gap
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            part, error = self.part, ""
            user, history = self._asked[(number + turn) % len(self._asked)]
            try:
                self._client.recommend(user or None, history)
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
            self.calls.append(Call(part, time.monotonic() - due, error))


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_682)
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--transports", nargs="+", choices=TRANSPORTS, default=TRANSPORTS)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds that a call may take")
    parser.add_argument("--models", type=Path, help="where the servable is kept for the next time")
    parser.add_argument("--json", type=Path, default=Path("output/failover_benchmark.json"))
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.ExitStack() as stack:
        models = arguments.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base = serving.made(models, arguments.items)
        outcomes = [
            measure(transport, replicas, base, arguments)
            for transport in arguments.transports
            for replicas in arguments.replicas
        ]
    print(f"\n{table(outcomes)}\n\n{serving.system()}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps([vars(outcome) for outcome in outcomes]))
    failed = [f"{call.part}: {call.error}" for outcome in outcomes for call in outcome.failed()]
    sys.exit("\n".join([f"{len(failed)} calls failed", *failed[:20]]) if failed else 0)


def measure(transport: str, replicas: int, base: Path, arguments: argparse.Namespace) -> Outcome:
    """One client and so many replicas."""
    from serving.client import RecommenderClient
    from serving.server.ports import free_port
    from serving.server.process import EMBEDDED, ServerProcess

    def server(ports: tuple[int, int]) -> ServerProcess:
        return ServerProcess(base, MODEL, *ports, binary=EMBEDDED)

    with contextlib.ExitStack() as stack:
        ports = [(free_port(), free_port()) for _ in range(replicas)]
        servers = [stack.enter_context(server(pair)) for pair in ports]
        targets = [one.grpc_target if transport == "grpc" else one.rest_target for one in servers]
        options = {"model": MODEL, "transport": transport, "timeout": arguments.timeout}
        client = stack.enter_context(RecommenderClient(targets, **options))
        with Load(client, queries(arguments.items), arguments.rate) as load:

            def part(name: str) -> None:
                load.part = name
                print(f"{transport}, {replicas} replicas: {name}", flush=True)

            part("calm")
            time.sleep(arguments.seconds)
            part("killed")
            os.kill(servers[0].pid, signal.SIGKILL)
            time.sleep(arguments.seconds)
            part("again")
            servers[0].stop()
            stack.enter_context(server(ports[0]))
            time.sleep(arguments.seconds)
            part("hangs")
            with stopped(servers[1].pid):
                time.sleep(arguments.seconds)
                part("woken")
            time.sleep(arguments.seconds)
        return Outcome(transport, replicas, load.calls, dict(client.metrics.snapshot().events))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table: for each part calls, those that failed, and latencies in ms."""
    lines = [
        "| calls, failed; p50 / p99 / max ms | " + " | ".join(_PARTS) + " |",
        "| --- |" + " ---: |" * len(_PARTS),
    ]
    for outcome in outcomes:
        cells = []
        for part in _PARTS:
            calls = [call for call in outcome.calls if call.part == part]
            failed = sum(bool(call.error) for call in calls)
            p50, p99, most = np.percentile([1e3 * call.seconds for call in calls], [50, 99, 100]) if calls else [0] * 3
            cells.append(f"{len(calls):,}, {failed}; {p50:.0f} / {p99:.0f} / {most:.0f}")
        lines.append(f"| {outcome.transport}, {outcome.replicas} replicas | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
