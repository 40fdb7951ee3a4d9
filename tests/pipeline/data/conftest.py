"""Places that a data set comes from: a server on the loopback, and a pip that has one wheel."""

from __future__ import annotations

import http.server
import sys
import threading

import pytest

from pipeline.data import sources

WHEEL = "tiny-1.0-py3-none-any.whl"


class Site(http.server.ThreadingHTTPServer):
    """Answers every GET with `content` (status 404 where it is None) and counts the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = None
        self.claimed_length = None
        self.requests = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/ml-100k.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        content = self.server.content
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.claimed_length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fake_python(tmp_path_factory, monkeypatch):
    """Stands in for `python -m pip download`: copies its file `content` to --dest, or fails like pip.

    With a file `slow` it does neither for a minute.
    """
    folder = tmp_path_factory.mktemp("fake")
    program = folder / "python"
    program.write_text(
        f"""#!{sys.executable}
import pathlib, shutil, sys, time
folder = pathlib.Path(__file__).parent
with open(folder / "calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if (folder / "slow").exists():
    time.sleep(60)
dest = next(word[len("--dest="):] for word in sys.argv if word.startswith("--dest="))
if not (folder / "content").exists():
    sys.exit("WARNING: Retrying\\nERROR: No matching distribution found for tiny==1.0\\n")
shutil.copy(folder / "content", pathlib.Path(dest) / {WHEEL!r})
"""
    )
    program.chmod(0o755)
    monkeypatch.setattr(sources.sys, "executable", str(program))
    return folder
