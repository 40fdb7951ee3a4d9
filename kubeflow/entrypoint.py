"""What a container of the pipeline runs; its command line is the compiler's.

The node itself runs in a process of its own (`kubeflow.node`), and this one watches: all that is written, by C++
libraries too, becomes a JSON object a line, outputs are whole or not there, and the exit code says what happened even
if the node was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from components.errors import InputError
from kubeflow.artifacts import output_paths
from pipeline.failures import DONE, FAILED, NOT_BLESSED, WRONG_INPUT

NODE_COMMAND = (sys.executable, "-m", "kubeflow.node")

_SEVERITIES = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
_CPP_LINE = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: )?([IWEF])(?:\d{4} \d\d:\d\d:| \S+:\d+\])")
"""A line of glog's or TensorFlow's."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line that the compiler writes."""
    parser = argparse.ArgumentParser(prog="kubeflow.entrypoint", description=__doc__)
    parser.add_argument("--node", required=True, help="The node's name in the DAG.")
    parser.add_argument("--component", required=True, help="Import path of its component class.")
    parser.add_argument("--executor_input", required=True, help="What KFP's launcher puts in place of {{$}}.")
    parser.add_argument("beam_args", nargs="*", help="Beam's options, after --.")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs a node in a process of its own; returns the exit code: 0, 2 for wrong input, 3 for data out of the
    limits, 1 for anything else."""
    options = parse(arguments)
    try:
        paths = output_paths(json.loads(options.executor_input))
    except InputError as error:
        log("ERROR", options.node, str(error))
        return WRONG_INPUT
    _remove(paths)  # of an earlier try
    started = time.monotonic()
    process = subprocess.Popen(
        [*NODE_COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    # A pod that is stopped ends with its node.
    signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    reader = threading.Thread(target=_pass_on, args=(process, options.node))
    reader.start()
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what the node started and left behind
    reader.join()
    figures = {
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 2**10,
    }
    if code == DONE and os.path.exists(paths[-1]):
        log("INFO", options.node, "done", **figures)
        return DONE
    _remove(paths)
    reason = _reason(code, options.node) if code else "it wrote no output"
    log("ERROR", options.node, f"failed: {reason}", **figures)
    return code if code in (WRONG_INPUT, NOT_BLESSED) else FAILED


def log(severity: str, node: str, message: str, **more: Any) -> None:
    """Writes a line of the log."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    print(json.dumps({"severity": severity, "time": now, "node": node, "message": message, **more}), flush=True)


def _pass_on(process: subprocess.Popen[str], node: str) -> None:
    """Writes what the node writes: its own lines are JSON already, those of libraries are not."""
    assert process.stdout
    for line in map(str.rstrip, process.stdout):
        if _is_ours(line):
            print(line, flush=True)
        elif line:
            match = _CPP_LINE.match(line)
            log(_SEVERITIES[match[1]] if match else "INFO", node, line)


def _is_ours(line: str) -> bool:
    try:
        return "severity" in dict(json.loads(line))
    except (TypeError, ValueError):
        return False


def _reason(code: int, node: str) -> str:
    if code == -signal.SIGKILL:
        return f"killed; most likely out of memory: raise kubeflow.nodes.{node}.memory.limit"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    known = {WRONG_INPUT: "the input is wrong", NOT_BLESSED: "the data are out of the limits"}
    return known.get(code, f"exit code {code}")


def _remove(paths: list[str]) -> None:
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
