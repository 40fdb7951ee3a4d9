#!/usr/bin/env python3
"""Makes the project's environment: picks the TFX track, finds a Python, installs the lock file, compiles bytecode.

Needs nothing but the standard library, so that any python3 from 3.8 on can run it:

    python3 requirements/setup_env.py            # make or refresh .venv; a moment when nothing changed
    python3 requirements/setup_env.py lock       # compile the lock files anew (see `make lock`)

Two releases of TFX are supported, because the newer one's wheels need a newer C library (`TRACKS`). The packages are
installed by uv, which itself is installed from requirements/uv.txt into `.venv/.uv`. A stamp, written last, tells a
finished environment from an interrupted one.

Exit codes: 0 done; 2 the machine lacks something, with one line that names it and the fix; 1 anything else.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional, Tuple  # noqa: UP035 (an alias below, on Python 3.8)

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAMP = ".setup.json"
LOCK = ".setup.lock"  # uv has a .lock of its own there
NEEDED_BYTES = 5 * 10**9  # the environment takes 3 GB, and uv's cache as much where it lies on the same disk

Version = Tuple[int, int]


class Track(NamedTuple):
    """A release of TFX with the systems and interpreters that it runs on."""

    name: str
    min_glibc: Version  # what its wheels were built against
    pythons: tuple[Version, ...]  # by preference
    compile_args: tuple[str, ...]
    extras: tuple[str, ...] = ()  # of setup.py, that only it has packages for

    @property
    def lock(self) -> pathlib.Path:
        """The compiled lock file."""
        return ROOT / "requirements" / f"tfx-{self.name}.txt"


# Newest first. pyproject.toml bounds what --universal resolves for.
TRACKS = (
    Track("1.21", (2, 39), ((3, 12), (3, 13), (3, 11)), ("--universal", "--python-version=3.11")),
    Track(
        "1.16", (2, 28), ((3, 10),), ("--python-version=3.10", "--python-platform=x86_64-manylinux_2_28"), ("scann",)
    ),
)

# Lock files of the images in kubeflow/image/ and the extras in them; the versions are those of the newest track.
IMAGES = {"image": ("pipeline", "ials"), "client": ("client",)}
IMAGE_ARGS = ("--python-version=3.12", "--python-platform=x86_64-manylinux_2_40")


class SetupError(Exception):
    """The machine lacks something; the message is one line with the fix."""


def _say(message: str) -> None:
    print(f"set-up: {message}", flush=True)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


# --- What the machine is ----------------------------------------------------------------------------------------------


def glibc_version() -> Optional[Version]:
    """The GNU C library's version, or None where there is none (musl, macOS)."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""  # "glibc 2.36"
    except (AttributeError, OSError, ValueError):
        return None
    name, _, version = text.partition(" ")
    if name != "glibc":
        return None
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def pick_track(system: str, machine: str, glibc: Optional[Version], wanted: Optional[str] = None) -> tuple[Track, str]:
    """The track for a machine, and why.

    Args:
      system: `platform.system()`.
      machine: `platform.machine()`.
      glibc: `glibc_version()`.
      wanted: The name of a track to use instead of the newest that runs.

    Raises:
      SetupError: No track, or not the wanted one, runs there.
    """
    hint = "use a Linux x86_64 machine or container with glibc, such as Debian 12 or Ubuntu 24.04"
    if system != "Linux":
        raise SetupError(f"TFX has no packages for {system}: {hint}.")
    if machine not in ("x86_64", "AMD64"):
        raise SetupError(f"TFX has no packages for {machine} processors: {hint}.")
    if glibc is None:
        raise SetupError(f"TFX has no packages for systems without glibc (musl, Alpine): {hint}.")
    newest = TRACKS[0]
    if wanted is not None:
        track = next(track for track in TRACKS if track.name == wanted)
        if glibc < track.min_glibc:
            raise SetupError(
                f"TFX {track.name} needs glibc {_dotted(track.min_glibc)}, this system has {_dotted(glibc)}: "
                "leave out --track."
            )
        return track, "asked for with --track"
    for track in TRACKS:
        if glibc >= track.min_glibc:
            relation = "is not older than" if track is newest else "is older than"
            return (
                track,
                f"glibc {_dotted(glibc)} {relation} the {_dotted(newest.min_glibc)} that TFX {newest.name} needs",
            )
    raise SetupError(f"glibc {_dotted(glibc)} is too old, TFX needs {_dotted(TRACKS[-1].min_glibc)}: {hint}.")


class Interpreter(NamedTuple):
    """A Python that was run and answered."""

    path: str
    version: Version
    has_headers: bool  # Python.h, without which pyfarmhash can't be built


_PROBE = (
    "import json, os, platform, sys, sysconfig;"
    "include = sysconfig.get_paths()['include'];"
    "fits = platform.python_implementation() == 'CPython' and platform.machine() == 'x86_64' and sys.maxsize > 2**32;"
    "print(json.dumps([os.path.realpath(sys.executable), sys.version_info[:2] if fits else [0, 0],"
    " os.path.exists(os.path.join(include, 'Python.h'))]))"
)


def _probe(path: str) -> Optional[Interpreter]:
    """Runs an interpreter; None where it fails, as pyenv's shims do for versions that are not selected."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False
        )
        if done.returncode != 0:
            return None
        executable, version, has_headers = json.loads(done.stdout)
        return Interpreter(executable, (version[0], version[1]), has_headers)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidate_interpreters(pythons: Sequence[Version], environ: dict[str, str]) -> Iterator[str]:
    """Paths where a fitting Python may be: this one, PATH, pyenv's versions folder; best first."""
    pyenv = pathlib.Path(environ.get("PYENV_ROOT") or pathlib.Path(environ.get("HOME", "/")) / ".pyenv")
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    for version in pythons:
        if sys.version_info[:2] == version:
            yield sys.executable
        for folder in folders:
            yield os.path.join(folder, f"python{_dotted(version)}")
        for found in sorted(pyenv.glob(f"versions/{_dotted(version)}*/bin/python"), reverse=True):
            yield str(found)
    for folder in folders:
        yield os.path.join(folder, "python3")


def find_interpreter(
    pythons: Sequence[Version], environ: dict[str, str]
) -> tuple[Optional[str], Optional[Interpreter]]:
    """A fitting interpreter with C headers, or None; and a fitting one that only lacks the headers, or None."""
    headless = None
    seen = set()
    for path in candidate_interpreters(pythons, environ):
        real = os.path.realpath(path)
        # A pyenv shim is one script under many names, so the name counts too.
        if (real, os.path.basename(path)) in seen or not os.access(path, os.X_OK):
            continue
        seen.add((real, os.path.basename(path)))
        interpreter = _probe(path)
        if interpreter is None or interpreter.version not in pythons:
            continue
        if interpreter.has_headers:
            return interpreter.path, headless
        headless = headless or interpreter
    return None, headless


# --- Running the installers -------------------------------------------------------------------------------------------


def explain(output: str) -> Optional[str]:
    """The one line for a known failure in the output of pip or uv, or None."""
    low = output.lower()
    if "no space left on device" in low or "os error 28" in low:
        return "the disk is full: free some space (about 5 GB are needed), or choose another place with --venv DIR."
    if "python.h: no such file" in low:
        return "Python's C headers are missing: install them (Debian, Ubuntu: apt install python3-dev)."
    if "hash mismatch" in low or "do not match the hashes" in low:
        return "a downloaded package differs from the lock file: check the package index, or run `make lock`."
    if "ensurepip is not" in low or "no module named venv" in low:
        return "python3 has no venv module: install it (Debian, Ubuntu: apt install python3-venv)."
    network = (
        "error sending request",
        "dns error",
        "network is unreachable",
        "name or service not known",
        "temporary failure in name resolution",
        "failed to establish a new connection",
        "connection refused",
        "connect timeout",
        "no matching distribution found",
    )
    if any(sign in low for sign in network):
        return (
            "the package index can't be reached: check the network, and behind a proxy or mirror set HTTPS_PROXY "
            "or PIP_INDEX_URL."
        )
    return None


def _run(command: Sequence[str], environ: dict[str, str], lock_fd: int) -> None:
    """Runs an installer and shows its lines as they come.

    The child inherits the lock, so that a set-up that was killed keeps others out until its orphan is done too.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=ROOT,
        pass_fds=(lock_fd,),
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line)
            print(f"  {line.rstrip()}", flush=True)
    if child.returncode != 0:
        reason = explain("".join(lines))
        if reason is not None:
            raise SetupError(reason)
        raise subprocess.CalledProcessError(child.returncode, list(command))


def index_settings(pip_config: str, environ: dict[str, str]) -> dict[str, str]:
    """uv's environment variables that say what pip's settings say; uv doesn't read pip's.

    Extra indexes and links are left out: the main index has every locked file, and others would leak into the locks.

    Args:
      pip_config: The output of `pip config list`: configuration files and PIP_ variables.
      environ: The environment; what is set for uv there stays.
    """
    pip: dict[str, str] = {}
    ranks = {"global": 0, "install": 1, ":env:": 2}
    rows = []
    for line in pip_config.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in ranks:
            with contextlib.suppress(ValueError, SyntaxError):
                rows.append((ranks[section], name, str(ast.literal_eval(value))))
    for _, name, value in sorted(rows):
        pip[name] = value

    settings: dict[str, str] = {}

    def translate(option: str, variable: str, *others: str) -> None:
        words = pip.get(option, "").split()
        if words and not any(name in environ for name in (variable, *others)):
            settings[variable] = " ".join(words)

    translate("index-url", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
    translate("trusted-host", "UV_INSECURE_HOST")
    translate("cert", "SSL_CERT_FILE")
    translate("timeout", "UV_HTTP_TIMEOUT")
    translate("proxy", "ALL_PROXY", "HTTPS_PROXY", "https_proxy", "all_proxy")
    return settings


def _bootstrap_uv(venv: pathlib.Path, environ: dict[str, str], lock_fd: int) -> str:
    """Installs uv from requirements/uv.txt into `<venv>/.uv` unless it is there; returns the path of its program."""
    home, pin = venv / ".uv", ROOT / "requirements" / "uv.txt"
    uv, stamp = home / "bin" / "uv", home / STAMP
    digest = _digest(pin)
    if not (uv.exists() and stamp.exists() and stamp.read_text() == digest):
        _say("installing uv")
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)], environ, lock_fd)
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(pin)], environ, lock_fd)
        stamp.write_text(digest)
    return str(uv)


def _uv_environ(venv: pathlib.Path, environ: dict[str, str]) -> dict[str, str]:
    listed = subprocess.run(
        [str(venv / ".uv" / "bin" / "python"), "-m", "pip", "config", "list"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout
    return {**environ, "UV_NO_PROGRESS": "1", **index_settings(listed, environ)}


# --- The environment --------------------------------------------------------------------------------------------------


def _digest(*paths: pathlib.Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _read_stamp(venv: pathlib.Path) -> dict[str, str]:
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # The interpreter may have been removed meanwhile.
    alive = os.access(venv / "bin" / "python", os.X_OK) and os.path.exists(stamp.get("python", ""))
    return stamp if alive else {}


def _check_machine(venv: pathlib.Path, environ: dict[str, str]) -> None:
    compilers = [environ.get("CXX", ""), "g++", "c++", "clang++"]
    if not any(name and shutil.which(name.split()[0], path=environ.get("PATH")) for name in compilers):
        raise SetupError("there is no C++ compiler, which pyfarmhash needs (Debian, Ubuntu: apt install g++).")
    free = shutil.disk_usage(venv).free
    if free < NEEDED_BYTES:
        raise SetupError(
            f"only {free / 1e9:.1f} GB are free at {venv}, about {NEEDED_BYTES / 1e9:.0f} are needed: "
            "free some space, or choose another place with --venv DIR."
        )


def _clear(venv: pathlib.Path) -> None:
    """Removes an old or half-made environment, all but uv."""
    for entry in venv.iterdir():
        if entry.name in (".uv", LOCK):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextlib.contextmanager
def _locked(venv: pathlib.Path) -> Iterator[int]:
    """Holds the environment against a second set-up; yields the lock's file descriptor."""
    venv.mkdir(parents=True, exist_ok=True)
    with open(venv / LOCK, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say("waiting for another set-up of the same environment")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _find_or_download_python(uv: str, track: Track, environ: dict[str, str], lock_fd: int) -> str:
    python, headless = find_interpreter(track.pythons, environ)
    if python is not None:
        return python
    wanted = " or ".join(f"{_dotted(version)}" for version in sorted(track.pythons))
    if headless is not None:
        _say(f"{headless.path} lacks the C headers (Python.h) that pyfarmhash is built with; downloading a Python")
    else:
        _say(f"no Python {wanted} on PATH or in pyenv; downloading one")
    version = _dotted(track.pythons[0])
    try:
        _run([uv, "python", "install", "--no-bin", version], environ, lock_fd)
        found = subprocess.run(
            [uv, "python", "find", "--managed-python", "--no-python-downloads", version],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return found.stdout.strip()
    except (SetupError, subprocess.CalledProcessError) as error:
        if headless is not None:
            fix = f"install its C headers (Debian, Ubuntu: apt install python{_dotted(headless.version)}-dev)"
        else:
            fix = f"install Python {wanted} with its C headers"
        raise SetupError(f"no fitting Python here, and none could be downloaded: {fix}, then try again.") from error


def set_up(venv: pathlib.Path, wanted: Optional[str], environ: dict[str, str]) -> None:
    """Makes or refreshes the environment in the folder `venv`."""
    track, why = pick_track(platform.system(), platform.machine(), glibc_version(), wanted)
    target = {
        "track": track.name,
        "lock": _digest(track.lock),
        "project": _digest(ROOT / "setup.py", ROOT / "pyproject.toml"),
        "root": str(ROOT),
        "venv": str(venv),  # its scripts name it: a copied environment must be made anew
    }
    reason = f"TFX {track.name}, because {why}"
    with _locked(venv) as lock_fd:
        stamp = _read_stamp(venv)
        if {key: stamp.get(key) for key in target} == target:
            _say(f"{venv} is up to date: {reason}")
            return
        _say(reason)
        started = time.monotonic()
        _check_machine(venv, environ)
        uv = _bootstrap_uv(venv, environ, lock_fd)
        environ = _uv_environ(venv, environ)
        packages_fit = all(stamp.get(key) == target[key] for key in ("track", "lock", "venv"))
        if packages_fit:
            python = stamp["python"]
        else:
            (venv / STAMP).unlink(missing_ok=True)
            _clear(venv)
            python = _find_or_download_python(uv, track, environ, lock_fd)
            _say(f"installing the packages of {track.lock.name} for {python}, a few minutes the first time")
            _run([uv, "venv", "--quiet", "--allow-existing", "--python", python, str(venv)], environ, lock_fd)
            sync = [uv, "pip", "sync", "--python", str(venv / "bin" / "python"), "--require-hashes"]
            _run([*sync, "--compile-bytecode", str(track.lock)], environ, lock_fd)
        _say("installing the project")
        install = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), "--no-deps"]
        # setuptools is locked above: no isolation, no download. A plain path entry sees new packages at once.
        editable = ["--no-build-isolation", "--config-settings", "editable_mode=compat", "--editable", str(ROOT)]
        _run([*install, *editable], environ, lock_fd)
        partial = venv / f"{STAMP}.partial"
        partial.write_text(json.dumps({**target, "python": python}, indent=2), encoding="utf-8")
        partial.replace(venv / STAMP)
        _say(f"done in {time.monotonic() - started:.0f} s")


def compile_locks(venv: pathlib.Path, upgrade: bool, environ: dict[str, str]) -> None:
    """Writes the lock files of tracks and images from setup.py's extras; keeps their versions unless `upgrade`."""
    with _locked(venv) as lock_fd:
        uv = _bootstrap_uv(venv, environ, lock_fd)
        environ = {**_uv_environ(venv, environ), "UV_CUSTOM_COMPILE_COMMAND": "make lock"}
        form = ["--quiet", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
        locks: list[tuple[pathlib.Path, tuple[str, ...], str, tuple[str, ...]]] = [
            (track.lock, ("pipeline", "ials", "dev", *track.extras), f"tfx-{track.name}.in", track.compile_args)
            for track in TRACKS
        ]
        for name, extras in IMAGES.items():
            locks.append((ROOT / "requirements" / f"{name}.txt", extras, TRACKS[0].lock.name, IMAGE_ARGS))
        for lock, extras, constraint, arguments in locks:
            _say(f"compiling {lock.name}")
            inputs = ["setup.py", *(f"--extra={extra}" for extra in extras), f"--constraint=requirements/{constraint}"]
            output = [f"--output-file=requirements/{lock.name}", *(["--upgrade"] if upgrade else [])]
            command = [uv, "pip", "compile", *inputs, *arguments, *form, *output, "--no-python-downloads"]
            _run(command, environ, lock_fd)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes the project's environment.")
    parser.add_argument("action", nargs="?", choices=("install", "lock"), default="install")
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / ".venv", help="the environment's folder")
    parser.add_argument(
        "--track", choices=[track.name for track in TRACKS], help="TFX's release, instead of the newest"
    )
    parser.add_argument("--upgrade", action="store_true", help="with lock: take the newest versions that fit")
    options = parser.parse_args(arguments)
    # Without bytecode every import of TFX takes half a minute; the others would misdirect the installers.
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET")
    environ = {name: value for name, value in os.environ.items() if name not in left_out}
    try:
        if sys.version_info < (3, 8):  # noqa: UP036 (any python3 may be the one that runs this)
            raise SetupError("this script needs Python 3.8 or newer: make setup PYTHON=/path/to/python3.")
        if options.action == "lock":
            compile_locks(options.venv.resolve(), options.upgrade, environ)
        else:
            set_up(options.venv.resolve(), options.track, environ)
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        reason = explain(str(error))
        print(f"set-up failed: {reason or error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"set-up failed: `{' '.join(error.cmd)}` ended with {error.returncode}, see above.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted; the next one starts over.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
