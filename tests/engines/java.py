"""What engines of Java need: their jars, which Maven fetches, and their processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.e2e.beam_engine import ended

asked_for = pytest.mark.skipif("ENGINES" not in os.environ, reason="takes minutes: make test-engines")

_QUICK = (
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",  # a class is used for seconds: to compile it well would take longer
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

HERE = Path(__file__).parent

CACHE = Path(os.environ.get("ENGINES_CACHE", "~/.cache/recommender-engines")).expanduser()
"""Where the jars are kept."""

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

_OPENS = (
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
)
"""What engines look into, which Java 17 keeps closed; the start scripts of Flink and Spark say the same."""


def jars(engine: str) -> Path:
    """The folder with an engine's jars: those of `<engine>.xml`, with the digests in `<engine>.sha256`.

    Skips the test where Java or Maven is missing or does not get them.
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{engine}: no {program}")
    listed = (HERE / f"{engine}.sha256").read_text()
    folder = CACHE / f"{engine}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"
    if not folder.exists():
        new = folder.with_suffix(f".{os.getpid()}")
        where = ["-f", str(HERE / f"{engine}.xml"), f"-DoutputDirectory={new}"]
        got = subprocess.run(
            ["mvn", "-B", "-q", _COPY, "-DincludeScope=runtime", *where], capture_output=True, text=True
        )
        if got.returncode:
            pytest.skip(f"{engine}: its jars can't be had: {got.stdout.strip().splitlines()[:1]}")
        assert digests(new) == listed, f"these are not the jars that {engine}.sha256 lists"
        new.rename(folder)
    return folder


def digests(folder: Path) -> str:
    """The jars of a folder and their digests, as `sha256sum *.jar` writes them."""
    return "".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(folder.iterdir()))


@contextlib.contextmanager
def java(
    folder: Path,
    name: str,
    command: Sequence[str],
    classpath: str,
    variables: Mapping[str, str] = {},
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a class of Java beside the test, which writes `<name>.log`; kills it and what it has started in the end."""
    opens = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS]
    with open(folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            ["java", *_QUICK, *opens, "-cp", classpath, *command],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with ended(process):
        yield process
