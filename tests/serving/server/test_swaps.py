"""The memory of a server process over many swaps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from serving.server.process import EMBEDDED, ServerProcess
from tests.serving.fixtures import MODEL
from tests.serving.server.running import Asked, publish, wait_until

pytestmark = pytest.mark.slow

_MB = 48
_SWAPS = 50


def memory_mb(pid: int) -> float:
    """Resident memory that no file backs."""
    found = re.search(r"^RssAnon:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_swaps_leave_no_growth_beyond_one_model(tmp_path):
    import tensorflow as tf

    class Table(tf.Module):
        def __init__(self):
            self.rows = tf.Variable(tf.random.stateless_uniform([_MB * 4096, 64], (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def look(self, row):
            return {"y": tf.gather(self.rows, row)}

    table = Table()
    tf.saved_model.save(table, str(tmp_path / "source"), signatures={"serving_default": table.look})
    folder = tmp_path / MODEL
    folder.mkdir()
    publish(tmp_path / "source", folder, 1)
    flags = ["--file_system_poll_wait_seconds=0.05", "--tensorflow_session_parallelism=1"]
    with ServerProcess(tmp_path, MODEL, binary=EMBEDDED, flags=flags) as server, Asked(server.grpc_target) as asked:
        before = memory_mb(server.pid)
        after = []
        for version in range(2, _SWAPS + 2):
            publish(tmp_path / "source", folder, version)
            wait_until(lambda new=version: asked.states().get(new) == "AVAILABLE" and asked.states()[new - 1] == "END")
            shutil.rmtree(folder / str(version - 1))
            after.append(memory_mb(server.pid))
    assert before > _MB
    assert after[-1] - before < _MB
    assert after[-1] - after[4] < _MB / 4, after  # and it has settled
