"""The embedded server under three times the load that it can bear: what it still answers, how late, and in what memory.

    python -m benchmarks.overload

A servable of random weights (see serving_model.py) is asked `recommend` over gRPC and REST, by one server after the
other, in four stretches:

    capacity   clients that ask again as soon as they have their answer: how many requests a second the server can do
    calm       half of that, at random moments, whether answers come or not
    flood      three times that, likewise
    after      half of that again

The server and the load have processors of their own where there are two. It holds if in the flood the answers in time
are at most 20 % fewer than the capacity, their 99th percentile is within the deadline, the memory stays below that
before plus `--memory`, and if 5 seconds after it every request is answered in time again. Exit code 1 if it doesn't.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import serving
from benchmarks.open_load import Asked
from benchmarks.serving_load import MODEL

TRANSPORTS = ("grpc", "rest")
_CLIENTS = 8
_LOADERS = 2  # processes
_START_SECONDS = 0.5
_HELD = 0.8
_REFUSED = ("RESOURCE_EXHAUSTED", "CANCELLED")
"""The codes of what isn't taken on: told so by the server, or ended by gRPC before the server came to it."""
_RECOVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Verdict:
    """What came of a flood."""

    transport: str
    capacity: float
    """Requests a second."""
    good_put: float
    """Answers in time in the flood, a second."""
    p99: float
    """Seconds, of these answers."""
    outcomes: dict[str, int]
    """Requests of the flood by the code's name; `late` are answers after the deadline."""
    memory_mb: float
    """The most in the flood."""
    limit_mb: float
    recovery: float
    """Seconds from the end of the flood until every request is answered in time."""
    lag: float
    """Seconds by which the load itself was late, 99th percentile."""
    deadline: float

    def complaints(self) -> list[str]:
        """What didn't hold."""
        found = {
            f"good-put {self.good_put:.0f}/s of {self.capacity:.0f}/s": self.good_put < _HELD * self.capacity,
            f"p99 {self.p99:.3f} s": self.p99 > self.deadline,
            f"memory {self.memory_mb:.0f} MB": self.memory_mb > self.limit_mb,
            f"recovery {self.recovery:.1f} s": self.recovery > _RECOVERY_SECONDS,
            f"the load was {self.lag:.2f} s late, so that this says little": self.lag > 0.2 * self.deadline,
        }
        return [complaint for complaint, holds in found.items() if holds]


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--transports", nargs="+", choices=TRANSPORTS, default=TRANSPORTS)
    parser.add_argument("--times", type=float, default=3.0, help="the flood, of the capacity")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stretch")
    parser.add_argument("--deadline", type=float, default=0.5, help="seconds")
    parser.add_argument("--memory", type=float, default=256.0, help="MB that a flood may take")
    parser.add_argument("--flags", type=shlex.split, default=[], help="more flags of the server, after all else")
    parser.add_argument("--models", type=Path, help="where the servable is kept for the next time")
    parser.add_argument("--json", type=Path, default=Path("output/overload_benchmark.json"))
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.ExitStack() as stack:
        models = arguments.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base = serving.made(models, arguments.items)
        verdicts = [measure(transport, base, arguments) for transport in arguments.transports]
    print(f"\n{table(verdicts)}\n\n{serving.system()}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps([vars(verdict) for verdict in verdicts], indent=1))
    complaints = [f"{v.transport}: {complaint}" for v in verdicts for complaint in v.complaints()]
    sys.exit("\n".join(["it doesn't hold:", *complaints]) if complaints else 0)


def measure(transport: str, base: Path, arguments: argparse.Namespace) -> Verdict:
    """Floods a new server over a transport."""
    from serving.server.process import EMBEDDED, ServerProcess

    ours, servers = cores()
    flags = [f"--rest_api_timeout_in_ms={int(1000 * arguments.deadline)}", *arguments.flags]
    with contextlib.ExitStack() as stack:
        with on(servers):
            server = stack.enter_context(ServerProcess(base, MODEL, binary=EMBEDDED, flags=flags))
        stack.enter_context(on(ours))
        target = server.grpc_target if transport == "grpc" else server.rest_target
        _, latencies = serving.load(transport, target, _CLIENTS, arguments.items, arguments.seconds)
        capacity = len(latencies) / arguments.seconds
        print(f"{transport}: {capacity:,.0f} requests a second", flush=True)

        def stretch(times: float) -> list[Asked]:
            found = ask(transport, target, times * capacity, arguments.seconds, arguments.deadline, arguments.items)
            codes = dict(Counter(outcome(one, arguments.deadline) for one in found))
            print(f"{transport}: {times * capacity:,.0f} a second asked: {codes}", flush=True)
            return found

        stretch(0.5)
        calm_mb = serving.memory_mb(server.pid)
        with watching(server.pid) as most:
            flood = stretch(arguments.times)
        after = stretch(0.5)
    good = [one.seconds for one in flood if outcome(one, arguments.deadline) == "OK"]
    return Verdict(
        transport=transport,
        capacity=capacity,
        good_put=len(good) / arguments.seconds,
        p99=float(np.percentile(good, 99)) if good else float("inf"),
        outcomes=dict(Counter(outcome(one, arguments.deadline) for one in flood)),
        memory_mb=most[0],
        limit_mb=calm_mb + arguments.memory,
        recovery=recovery(after, arguments.deadline),
        lag=float(np.percentile([one.lag for one in flood], 99)),
        deadline=arguments.deadline,
    )


def ask(transport: str, target: str, rate: float, seconds: float, deadline: float, items: int) -> list[Asked]:
    """What became of requests at a rate, from several processes."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.open_load", transport, target]
    command += [f"--rate={rate / _LOADERS}", f"--seconds={seconds}", f"--deadline={deadline}", f"--items={items}"]
    with contextlib.ExitStack() as stack:
        loaders = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, f"--seed={number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
                )
            )
            for number in range(_LOADERS)
        ]
        for loader in loaders:
            serving.line(loader)
        start = time.monotonic() + _START_SECONDS
        for loader in loaders:
            assert loader.stdin is not None
            loader.stdin.write(f"{start}\n")
        return sorted(Asked(*one) for loader in loaders for one in json.loads(serving.line(loader)))


def outcome(asked: Asked, deadline: float) -> str:
    """The code's name, or `late`."""
    return "late" if asked.code == "OK" and asked.seconds > deadline else asked.code


def recovery(asked: Sequence[Asked], deadline: float) -> float:
    """Seconds until the end of the last request that wasn't answered in time; 0 if all were."""
    return max((one.due + one.seconds for one in asked if outcome(one, deadline) != "OK"), default=0)


def table(verdicts: Sequence[Verdict]) -> str:
    """A Markdown table."""
    lines = [
        "| | capacity | good-put | p99 of it | refused | late or failed | memory, MB (limit) | recovery | lag |",
        "| --- |" + " ---: |" * 8,
    ]
    for v in verdicts:
        refused = sum(v.outcomes.get(code, 0) for code in _REFUSED)
        bad = sum(v.outcomes.values()) - refused - v.outcomes.get("OK", 0)
        lines.append(
            f"| {v.transport} | {v.capacity:,.0f}/s | {v.good_put:,.0f}/s ({v.good_put / v.capacity:.0%})"
            f" | {v.p99 * 1e3:,.0f} ms | {refused:,} | {bad:,} | {v.memory_mb:,.0f} ({v.limit_mb:,.0f})"
            f" | {v.recovery:.1f} s | {v.lag * 1e3:.0f} ms |"
        )
    return "\n".join(lines)


def cores() -> tuple[set[int], set[int]]:
    """Processors of this process and of the server: half of them each, or all for both if there is only one."""
    found = sorted(os.sched_getaffinity(0))
    half = len(found) // 2
    return (set(found[:half]), set(found[half:])) if half else (set(found), set(found))


@contextlib.contextmanager
def on(processors: set[int]) -> Iterator[None]:
    """What is started meanwhile runs on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def watching(pid: int) -> Iterator[list[float]]:
    """The most memory of a process in MB, looked at all the time."""
    most, over = [serving.memory_mb(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], serving.memory_mb(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
