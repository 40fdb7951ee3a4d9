"""A run that is killed at any node, or interrupted, is simply run again and ends as if nothing had happened.

While it is at work no other run comes between.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Small, Watch, fingerprint, outputs
from tests.e2e.world import NAME, NODES, end_group, parse_line, run, start, versions, wait_for

pytestmark = pytest.mark.slow

LONGEST_PAUSE = 2.0


def test_killed_in_every_node_ends_as_if_undisturbed(first_run: Small, folder: Path) -> None:
    order = [line.node for line in first_run.ended.lines]
    seconds = {line.node: line.seconds for line in first_run.ended.lines}
    hit = []
    with Watch(folder) as watch:
        for place, node in enumerate(order):
            pause = min(0.4 * seconds[node], LONGEST_PAUSE)
            done = _kill_after(folder, order[place - 1] if place else None, pause)
            if node not in done:
                hit.append(node)
        last = run(folder)
    # Some nodes take a moment only, and the kill then falls into the next one.
    assert {"InteractionGen", "Transform", "CatalogueTransform", "Trainer", "Indexer"} <= set(hit)
    assert len(hit) >= len(NODES) / 2
    assert last.code == 0, last.text
    assert set(last.states()) == set(NODES)
    assert not watch.unloadable
    [version] = versions(folder)
    assert [path.name for path in version.parent.iterdir()] == [version.name]
    [undisturbed] = versions(first_run.folder)
    assert fingerprint(version) == fingerprint(undisturbed)
    assert _metrics(folder) == _metrics(first_run.folder)


def test_a_second_run_is_kept_out_and_an_interrupted_one_says_so_and_goes_on(folder: Path) -> None:
    process = start(folder, "run", "--config", "config.yaml")
    try:
        seen: list[str] = []
        assert process.stdout is not None
        for text in process.stdout:
            line = parse_line(text)
            seen += [line.node] if line else []
            if line and line.node == "InteractionGen":
                break
        second = run(folder)
        assert process.poll() is None, "the first run was over too soon to be in the way"
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        stdout, stderr = process.communicate(timeout=300)
    finally:
        end_group(process)
    assert second.code == 4
    assert "another run is at work here" in second.stdout
    assert f"process {process.pid}" in second.stdout
    assert second.lines == []
    assert second.seconds < 15
    assert process.returncode not in (0, None)
    assert "interrupted" in stdout
    assert "run it again" in stdout
    assert "Traceback" not in stdout + stderr
    again = run(folder, "--only", "InteractionGen")
    assert again.code == 0, again.text
    assert "another run" not in again.text


def _kill_after(folder: Path, node: str | None, pause: float) -> list[str]:
    """Runs until `node` is through, or to the first one, waits, and kills all; returns which nodes were done."""
    process = start(folder, "run", "--config", "config.yaml")
    done: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for text in process.stdout:
            line = parse_line(text)
            if line:
                done.append(line.node)
            if line and line.node == node:
                ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        if node is None:
            wait_for(lambda: list(folder.glob(f"output/{NAME}/artifacts/*SchemaGen")), "the first node", 120)
        else:
            assert ready.wait(300), f"{node} was not reached: {done}"
        time.sleep(pause)
    finally:
        end_group(process)
        reader.join()
    return done


def _metrics(folder: Path) -> dict:
    uri = outputs(folder / "output" / NAME, "Evaluator")["evaluation"].uri
    return json.loads(Path(uri, "metrics.json").read_text(encoding="utf-8"))
