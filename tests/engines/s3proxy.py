"""S3Proxy, which speaks S3 as another program than moto does, and keeps objects in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.beam_engine import free_port, listens
from tests.e2e.world import wait_for
from tests.engines.java import jars, java

_WARNINGS = """<configuration>
  <appender name="all" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="all"/></root>
</configuration>
"""


@contextlib.contextmanager
def s3proxy(folder: Path, user: str, password: str) -> Iterator[str]:
    """Starts the server, which takes these credentials and has no buckets, and ends it; yields its URL."""
    port = free_port()
    settings = {
        "s3proxy.endpoint": f"http://127.0.0.1:{port}",
        "s3proxy.authorization": "aws-v2-or-v4",
        "s3proxy.identity": user,
        "s3proxy.credential": password,
        "jclouds.provider": "transient-nio2",
    }
    (folder / "settings").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (folder / "logback.xml").write_text(_WARNINGS)
    command = ["-Dlogback.configurationFile=logback.xml", "org.gaul.s3proxy.Main", "--properties", "settings"]
    with java(folder, "s3proxy", command, f"{jars('s3proxy')}/*"):
        wait_for(lambda: listens(port), "S3Proxy's start")
        yield settings["s3proxy.endpoint"]
