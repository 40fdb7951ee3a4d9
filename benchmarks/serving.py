"""The embedded model server against the SavedModel called directly and against FastAPI: latency, throughput, memory.

    pip install -e .[bench]
    python -m benchmarks.serving

One servable a size, with random weights (see serving_model.py), behind each of

    direct    tf.saved_model.load in the process that asks
    grpc      the embedded server, `recommend`
    rest      the same over REST
    batched   the embedded server with --enable_batching, `recommend_examples`
    fastapi   FastAPI and uvicorn (see serving_fastapi.py)

The load comes from other processes on the same machine (see serving_load.py), so they share its cores. All servers are
up at the same time and are asked in turn, round by round. Before that all have to answer the same items.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_load import MODEL, WARM_UP_SECONDS

KINDS = ("direct", "grpc", "rest", "batched", "fastapi")
_BATCHING = """max_batch_size { value: 64 }
num_batch_threads { value: 1 }
pad_variable_length_inputs: true
"""

Result = dict[str, Any]
"""`items`, `kind`, `clients`; over all rounds `p50_ms` and `p99_ms`; the rounds' medians of `qps` and of the server's
`cpu_ms` a request, which counts most where the machine has other work."""


def main() -> None:
    """Runs the benchmark and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[1_682, 30_000, 1_000_000])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", type=Path, help="where the servables are kept for the next time")
    parser.add_argument("--json", type=Path, default=Path("output/serving_benchmark.json"))
    arguments = parser.parse_args()
    if "fastapi" in arguments.kinds and not importlib.util.find_spec("fastapi"):
        sys.exit("FastAPI is not installed: pip install -e .[bench], or leave it out by --kinds")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    results: list[Result] = []
    memory: dict[str, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        models = arguments.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for items in arguments.items:
            found, memory[str(items)] = measure(models, items, arguments)
            results += found
            print(f"\n{items:,} items\n\n{table(found, memory[str(items)])}\n", flush=True)
    report = {"system": system(), "results": results, "memory_mb": memory}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1))
    print(f"{report['system']}\n{arguments.json}")


def measure(models: Path, items: int, arguments: argparse.Namespace) -> tuple[list[Result], dict[str, float]]:
    """Results of all kinds and numbers of clients, and each server's memory in MB, for a catalogue of a size."""
    base = made(models, items)
    latencies: dict[tuple[str, int], list[list[float]]] = {}
    cpu: dict[tuple[str, int], list[float]] = {}
    with contextlib.ExitStack() as stack:
        servers = {kind: stack.enter_context(serve(kind, base)) for kind in arguments.kinds}
        answers = {}
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for kind, (target, pid) in servers.items():
                    before = _cpu_seconds(pid)
                    answers[kind], found = load(kind, target, clients, items, arguments.seconds)
                    requests = len(found) * (1 + WARM_UP_SECONDS / arguments.seconds)
                    cpu.setdefault((kind, clients), []).append((_cpu_seconds(pid) - before) / requests * 1e3)
                    latencies.setdefault((kind, clients), []).append(found)
                    print(f"{items:>9,} {clients:>3} clients {kind:8} {len(found) / arguments.seconds:8,.0f} QPS")
        if any(answer != answers[arguments.kinds[0]] for answer in answers.values()):
            sys.exit("the servers answered different items")
        memory = {kind: memory_mb(pid) for kind, (_, pid) in servers.items() if pid}
    return [
        {
            "items": items,
            "kind": kind,
            "clients": clients,
            "p50_ms": float(np.percentile(np.concatenate(rounds), 50)) * 1e3,
            "p99_ms": float(np.percentile(np.concatenate(rounds), 99)) * 1e3,
            "qps": statistics.median(len(found) for found in rounds) / arguments.seconds,
            "cpu_ms": statistics.median(cpu[kind, clients]),
        }
        for (kind, clients), rounds in latencies.items()
    ], memory


def made(models: Path, items: int) -> Path:
    """The base path of a servable of so many items, which is made if it isn't there yet."""
    base = models / str(items)
    if not (base / MODEL / "1" / "saved_model.pb").exists():
        # A process of its own, whose memory is given back.
        code = (
            "import sys; from benchmarks.serving_model import write_model; write_model(sys.argv[1], int(sys.argv[2]))"
        )
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(base / MODEL / "1"), str(items)], check=True)
    return base


@contextlib.contextmanager
def serve(kind: str, base: Path) -> Iterator[tuple[str, int]]:
    """A server of a kind: where it listens, and its process; 0 for `direct`, which has none."""
    from serving.server.ports import free_port
    from serving.server.process import EMBEDDED, ServerProcess

    model = str(base / MODEL / "1")
    if kind == "direct":
        yield model, 0
    elif kind == "fastapi":
        port = free_port()
        command = [sys.executable, "-W", "ignore", "-m", "uvicorn", "benchmarks.serving_fastapi:app"]
        with subprocess.Popen(
            [*command, f"--port={port}", "--log-level=warning", "--no-access-log"], env={**os.environ, "MODEL": model}
        ) as process:
            try:
                _wait_for(port, process)
                yield f"127.0.0.1:{port}", process.pid
            finally:
                process.terminate()
    else:
        flags = []
        with contextlib.ExitStack() as stack:
            if kind == "batched":
                file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".pbtxt"))
                file.write(_BATCHING)
                file.flush()
                flags = ["--enable_batching", f"--batching_parameters_file={file.name}"]
            server = stack.enter_context(ServerProcess(base, MODEL, binary=EMBEDDED, flags=flags))
            yield server.rest_target if kind == "rest" else server.grpc_target, server.pid


def load(kind: str, target: str, clients: int, items: int, seconds: float) -> tuple[list[Any], list[float]]:
    """Some answers, and the seconds that each request took; from two processes, or one for a single client."""
    processes = 1 if clients == 1 or kind == "direct" else 2
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.serving_load", kind, target]
    command += [f"--clients={clients // processes}", f"--seconds={seconds}", f"--items={items}"]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            )
            for _ in range(processes)
        ]
        answers = [json.loads(line(worker)) for worker in workers]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
        return answers[0], [latency for worker in workers for latency in json.loads(line(worker))]


def table(results: list[Result], memory: dict[str, float]) -> str:
    """A Markdown table of one size, and the ratios that count."""
    by = {(result["kind"], result["clients"]): result for result in results}
    kinds = list(dict.fromkeys(result["kind"] for result in results))
    clients = list(dict.fromkeys(result["clients"] for result in results))
    lines = [
        "| p50 / p99 ms, QPS, CPU ms | " + " | ".join(f"{number} clients" for number in clients) + " | memory, MB |",
        "| --- |" + " ---: |" * (len(clients) + 1),
    ]
    for kind in kinds:
        cells = [
            f"{r['p50_ms']:.2f} / {r['p99_ms']:.2f}, {r['qps']:,.0f}, {r['cpu_ms']:.2f}"
            for r in (by[kind, number] for number in clients)
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} | {f'{memory[kind]:,.0f}' if kind in memory else ''} |")
    least, most = min(clients), max(clients)
    lines.append("")
    if {"grpc", "direct"} <= set(kinds):
        over = by["grpc", least]["p50_ms"] - by["direct", least]["p50_ms"]
        lines.append(f"gRPC p50 at {least} clients: {over:+.2f} ms over the direct call")
    for kind, other in (("grpc", "fastapi"), ("rest", "fastapi"), ("batched", "grpc")):
        if {kind, other} <= set(kinds):
            ratio = by[kind, most]["qps"] / by[other, most]["qps"]
            lines.append(f"QPS at {most} clients: {kind} {ratio:.2f} times {other}")
    return "\n".join(lines)


def system() -> str:
    """What it ran on."""
    found = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "grpcio", "waitress", "fastapi", "uvicorn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return f"{', '.join(found)}; {os.cpu_count()} cores, {platform.platform()}"


def line(worker: subprocess.Popen[str]) -> str:
    """The next line of a load generator's output."""
    assert worker.stdout is not None
    found = worker.stdout.readline()
    if not found:
        sys.exit(f"a load generator has failed: {' '.join(map(str, worker.args))}")  # type: ignore[arg-type]
    return found


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until something answers HTTP."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            http.client.HTTPConnection("127.0.0.1", port).connect()
            return
        time.sleep(0.1)
    sys.exit("FastAPI's server has failed")


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; nothing for process 0, there is none."""
    if not pid:
        return math.nan
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """A process's resident memory in MB."""
    found = re.search(r"^VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else math.nan


if __name__ == "__main__":
    main()
