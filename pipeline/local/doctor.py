"""`recommender doctor`: says what is installed, which TFX track, what is missing or broken, and how to mend it.

It must help when TensorFlow or TFX can't be imported, so it imports neither: a child process does, and reports.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import InputError
from pipeline.data import datasets
from pipeline.failures import DONE, FAILED
from pipeline.terminal import Outcome, print_table

if TYPE_CHECKING:
    from pipeline.config import Config

FINE, HINT, BROKEN = "fine", "hint", "broken"

# As in requirements/setup_env.py, which can't be imported from an installed package; a test holds them together.
NEWER_TRACK, OLDER_TRACK, NEWER_GLIBC = "1.21", "1.16", (2, 39)

_IMPORT_TIMEOUT_S = 240
_GIB = 2**30

# What decides whether the tracks' parts fit together, shown one by one; of the others only the differences are.
KEY_PACKAGES = (
    "tfx",
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "tensorflow-serving-api",
    "apache-beam",
    "ml-metadata",
    "pyarrow",
    "numpy",
    "protobuf",
    "grpcio",
    "kfp",
    "pydantic",
)

# The submodules as well: `tfx.components` turns a failed import into None, and a package may be whole but for one file.
MODULES = (
    "numpy",
    "pyarrow.csv",
    "pyarrow.parquet",
    "google.protobuf",
    "grpc",
    "grpc_health.v1.health",
    "pydantic",
    "yaml",
    "typer",
    "waitress",
    "prometheus_client",
    "dill",
    "pkg_resources",
    "tensorflow",
    "tf_keras",
    "tensorboard.summary",
    "tensorflow_recommenders",
    "tensorflow_transform",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_serving.apis.prediction_log_pb2",
    "tfx_bsl.coders.example_coder",
    "apache_beam.runners.portability.fn_api_runner",
    "ml_metadata",
    "tfx.dsl.components.base.base_beam_executor",
    "tfx.components.statistics_gen.component",
    "tfx.components.schema_gen.import_schema_gen.component",
    "tfx.components.example_validator.component",
    "tfx.components.transform.component",
    "tfx.components.trainer.executor",
    "tfx.components.evaluator.component",
    "tfx.components.pusher.component",
    "tfx.orchestration.portable.launcher",
)


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    state: str  # FINE, HINT or BROKEN
    found: str
    fix: str = ""


def run_doctor(load: Callable[[], Config]) -> Outcome:
    """Examines the installation.

    Args:
      load: Reads the config, whose output folder is looked at.

    Returns:
      The exit code, 1 if something that the pipeline needs is broken (hints don't count), and the facts: `broken`, the
      names of what is, and `findings`.
    """
    with Console().status("looking at the machine") as status:
        findings = [*_system(), *_packages(_locked_versions(_track()))]
        status.update("importing the packages, which takes a while")
        findings += _imports(failed_imports(MODULES))
        status.update("looking at bytecode, data and disk")
        about_config, output_dir = _config(load)
        findings += [about_config, _bytecode(), *_tools(), *_room(output_dir), *_data_sets()]
    broken = [finding.name for finding in findings if finding.state == BROKEN]
    facts = {"broken": broken, "findings": [finding._asdict() for finding in findings]}
    return Outcome(FAILED if broken else DONE, facts, functools.partial(_show, findings, broken))


def _show(findings: list[Finding], broken: list[str], console: Console) -> None:
    table = Table(title="recommender doctor", title_justify="left", show_edge=False)
    for heading in ("what", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    colours = {FINE: "green", HINT: "yellow", BROKEN: "red"}
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        table.add_row(escape(finding.name), state, escape(finding.found), escape(finding.fix))
    print_table(console, table)
    if broken:
        console.print(f"[red]broken:[/] {escape(', '.join(broken))}", soft_wrap=True)
    else:
        console.print("[green]nothing that the pipeline needs is broken[/]")


def _remake() -> str:
    """How to install everything anew; `make setup` alone leaves an environment that it has finished once."""
    finished = Path(sys.prefix, ".setup").exists()
    return f"rm -rf {shlex.quote(os.path.relpath(sys.prefix))} && make setup" if finished else "make setup"


# --- System and packages ----------------------------------------------------------------------------------------------


def _glibc() -> Optional[tuple[int, int]]:
    try:
        match = re.fullmatch(r"glibc (\d+)\.(\d+).*", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, OSError, ValueError):  # musl, macOS
        return None
    return (int(match[1]), int(match[2])) if match else None


def _installed(name: str) -> Optional[str]:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _track() -> str:
    """The track that is installed, or else the one that the system would get."""
    version = _installed("tfx")
    if version is not None:
        return ".".join(version.split(".")[:2])
    glibc = _glibc()
    return NEWER_TRACK if glibc is not None and glibc >= NEWER_GLIBC else OLDER_TRACK


def _system() -> list[Finding]:
    findings = [Finding("Python", FINE, f"{platform.python_version()} at {sys.executable}")]
    glibc = _glibc()
    if platform.system() != "Linux" or platform.machine() != "x86_64" or glibc is None:
        found = f"{platform.system()} {platform.machine()}, {'no ' if glibc is None else ''}glibc"
        fix = "TFX has packages for Linux x86_64 with glibc only; the client works here"
        return [*findings, Finding("system", BROKEN, found, fix)]
    newer = glibc >= NEWER_GLIBC
    best = NEWER_TRACK if newer else OLDER_TRACK
    wanted = ".".join(map(str, NEWER_GLIBC))
    why = f"{'reaches' if newer else 'is older than'} the {wanted} that TFX {NEWER_TRACK} needs"
    findings.append(Finding("system", FINE, f"{platform.platform()}, glibc {glibc[0]}.{glibc[1]}"))
    found = f"TFX {_track()}" + ("" if _installed("tfx") else " (not installed)")
    if _track() == best:
        findings.append(Finding("track", FINE, f"{found}: glibc {why}"))
    else:
        findings.append(Finding("track", HINT, f"{found}, where TFX {best} fits: glibc {why}", "make setup"))
    return findings


def _locked_versions(track: str) -> dict[str, set[str]]:
    """The versions that the track's lock file allows for each package; empty outside a checkout."""
    lock = Path(__file__).parents[2] / "requirements" / f"tfx-{track}.txt"
    versions: dict[str, set[str]] = {}
    if lock.exists():
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE):
            versions.setdefault(name.lower(), set()).add(version)
    return versions


def _packages(locked: dict[str, set[str]]) -> list[Finding]:
    findings = []
    for name in KEY_PACKAGES:
        version, wanted = _installed(name), " or ".join(sorted(locked.get(name, ())))
        if version is None:
            findings.append(Finding(name, BROKEN, "not installed", _remake()))
        elif wanted and version not in locked[name]:
            findings.append(Finding(name, HINT, f"{version}, where {wanted} was tested", _remake()))
        else:
            findings.append(Finding(name, FINE, version + ("" if wanted else " (no lock file here to compare with)")))
    others = [name for name in locked if name not in KEY_PACKAGES]
    if others:
        pairs = [(name, _installed(name)) for name in others]
        differing = [
            f"{name} {version}, locked {' or '.join(sorted(locked[name]))}"
            for name, version in pairs
            if version is not None and version not in locked[name]
        ]
        count = sum(version is not None for _, version in pairs)
        if differing:
            findings.append(Finding("other packages", HINT, "; ".join(differing), _remake()))
        else:
            findings.append(Finding("other packages", FINE, f"{count} installed, all as locked"))
    if _installed("scann") and _track() == NEWER_TRACK:
        findings.append(Finding("scann", HINT, "none fits this TensorFlow", "uv pip uninstall scann"))
    return findings


# --- Imports ----------------------------------------------------------------------------------------------------------

_IMPORTER = """
import importlib, sys
for name in sys.argv[1:]:
    print("@try", name, flush=True)
    try:
        importlib.import_module(name)
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        print("@failed", name, text[:300], flush=True)
print("@done", flush=True)
"""


def failed_imports(modules: tuple[str, ...], timeout_s: float = _IMPORT_TIMEOUT_S) -> dict[str, str]:
    """Imports modules in a child process; returns why, for each that fails, kills the process, or hangs."""
    failed: dict[str, str] = {}
    left = list(modules)
    environ = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    while left:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _IMPORTER, *left],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=timeout_s,
                check=False,
            )
            output, end = done.stdout, f"ended the process with code {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output, end = error.stdout or b"", f"no answer within {timeout_s:.0f} s"
        tried = []
        for line in output.decode(errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "@try":
                tried.append(rest)
            elif word == "@failed":
                name, _, reason = rest.partition(" ")
                failed[name] = reason
            elif word == "@done":
                return failed
        if not tried:  # the interpreter itself fails
            return {**failed, left[0]: end}
        failed[tried[-1]] = end
        left = left[len(tried) :]
    return failed


def _imports(failed: dict[str, str]) -> list[Finding]:
    if not failed:
        return [Finding("imports", FINE, f"all {len(MODULES)} modules that the pipeline loads")]
    return [Finding(f"import {name}", BROKEN, reason, _fix_of_import(reason)) for name, reason in failed.items()]


def _fix_of_import(reason: str) -> str:
    library = re.search(r"(lib[\w+.-]+\.so[.\d]*): cannot open shared object", reason)
    if library:
        return f"install the system library {library[1]}"
    if "no answer within" in reason:
        return "unset PYTHONDONTWRITEBYTECODE; free memory; try again"
    return _remake()


# --- What is around ---------------------------------------------------------------------------------------------------


def _bytecode() -> Finding:
    """TFX takes half a minute to import without bytecode."""
    sources = []
    for package in ("tensorflow", "tfx"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            sources += list(Path(spec.origin).parent.rglob("*.py"))
    compiled = sum(Path(importlib.util.cache_from_source(str(source))).exists() for source in sources)
    found = f"{compiled:,} of {len(sources):,} modules of TensorFlow and TFX are compiled"
    if compiled < 0.9 * len(sources):
        return Finding("bytecode", HINT, f"{found}: imports are slow", f"python -m compileall -q {sys.prefix}")
    if sys.dont_write_bytecode:
        return Finding("bytecode", HINT, f"{found}; PYTHONDONTWRITEBYTECODE is set", "unset PYTHONDONTWRITEBYTECODE")
    return Finding("bytecode", FINE, found)


def _config(load: Callable[[], Config]) -> tuple[Finding, Path]:
    """Whether the config can be read, and the output folder that it names."""
    try:
        config = load()
    except InputError as error:
        return Finding("config", HINT, " ".join(str(error).split()), "mend it, or name another by --config"), Path(
            "output"
        )
    except ImportError as error:
        return Finding("config", BROKEN, f"can't be read: {error}", _remake()), Path("output")
    folder = config.output if isinstance(config.output, Path) else config.folder().parent
    return Finding("config", FINE, f"{config.name}: all keys are known and valid"), folder


def _tools() -> list[Finding]:
    findings = []
    server = shutil.which("tensorflow_model_server")
    findings.append(
        Finding("tensorflow_model_server", FINE, server or "not on PATH; the embedded server is used instead")
    )
    docker = shutil.which("docker")
    if docker is None:
        return [*findings, Finding("docker", FINE, "not on PATH; needed only to build images")]
    try:
        subprocess.run([docker, "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10, check=True)
        findings.append(Finding("docker", FINE, docker))
    except (OSError, subprocess.SubprocessError):
        findings.append(Finding("docker", HINT, f"{docker}, but no daemon answers", "needed only to build images"))
    return findings


def _memory() -> tuple[float, float]:
    """Bytes of memory that this process may use in all, and that are free now; the container's limit counts."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
    total, free = int(fields["MemTotal"]) * 1024, int(fields["MemAvailable"]) * 1024
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return min(total, limit), min(free, limit - used)
    except (OSError, ValueError):  # no such file, or "max"
        return total, free


def _room(output_dir: Path) -> list[Finding]:
    findings = [Finding("cores", FINE, str(len(os.sched_getaffinity(0))))]
    try:
        total, free = _memory()
        found = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
        small = free < 4 * _GIB
        fix = "4 GiB are needed for the example; close other programs" if small else ""
        findings.append(Finding("memory", HINT if small else FINE, found, fix))
    except (OSError, KeyError):
        findings.append(Finding("memory", HINT, "unknown: there is no /proc/meminfo"))

    existing = output_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
        findings.append(Finding("output folder", FINE, f"{output_dir} can be written"))
    except OSError as error:
        fix = "choose another folder in the config, or mend its permissions"
        findings.append(Finding("output folder", BROKEN, f"{existing}: {error.strerror or error}", fix))
    space = shutil.disk_usage(existing).free
    found = f"{space / 1e9:.0f} GB free at {existing}"
    state = BROKEN if space < 0.5e9 else HINT if space < 5e9 else FINE
    findings.append(Finding("disk", state, found, "" if state == FINE else "free some space"))
    return findings


def _data_sets() -> list[Finding]:
    root = datasets.cache_root()
    findings = [Finding("cache", FINE, str(root))]
    for name in datasets.DATASETS:
        if not (root / name).exists():
            findings.append(Finding(name, FINE, "not fetched yet; the first run does"))
            continue
        damaged = datasets.verify(name)
        if damaged:
            findings.append(Finding(name, HINT, f"damaged: {', '.join(damaged)}", "the next run fetches it again"))
        else:
            findings.append(Finding(name, FINE, "complete"))
    return findings
