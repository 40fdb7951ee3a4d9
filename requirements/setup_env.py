#!/usr/bin/env python3
"""Makes the project's environment: what uv can't do, around uv (docs/architecture.md, "Set-up").

Needs nothing but the standard library, so that any python3 from 3.8 on can run it:

    python3 requirements/setup_env.py                  # make or refresh .venv; a moment when nothing changed
    python3 requirements/setup_env.py pip compile …    # the pinned uv under pip's settings, as `make lock` wants it

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
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAMP = ".setup"  # written last, for uv takes a half-installed package for installed
LOCK = ".setup.lock"  # uv's own .lock is there only once the environment is


class Track(NamedTuple):
    """A release of TFX; requirements/tfx-NAME.txt has its packages."""

    name: str
    min_glibc: tuple[int, int]  # what its wheels were built against
    python: str  # what it runs on


TRACKS = (Track("1.21", (2, 39), ">=3.11,<3.14"), Track("1.16", (2, 28), "==3.10.*"))  # newest first


class SetupError(Exception):
    """The machine lacks something; the message is one line with the fix."""


# What a known failure looks like in the output of pip or uv, and what to say then; the first that fits.
_REASONS = {
    "no space left on device|os error 28": "the disk is full: free some space (about 5 GB are needed), or choose other "
    "places with `make setup VENV=DIR` and UV_CACHE_DIR.",
    "hash mismatch|do not match the hashes": "a downloaded package differs from the lock file: check the package "
    "index, or run `make lock`.",
    "ensurepip is not|no module named venv": "python3 has no venv module: install it (Debian, Ubuntu: apt install "
    "python3-venv).",
    "python-build-standalone|no interpreter found": "the Python that TFX needs (see above) is not here with its C "
    "headers and can't be downloaded: install it (Debian, Ubuntu: apt install python3-dev for the headers).",
    "error sending request|dns error|network is unreachable|name or service not known|name resolution|new connection|"
    "connection refused|connect timeout|no matching distribution found": "the package index can't be reached: check "
    "the network, and behind a proxy or mirror set HTTPS_PROXY or PIP_INDEX_URL.",
}

# pip's options in uv's variables: the one to set, and others that say the same. Extra indexes and links are left out:
# the main index has every locked file, and others would leak into the locks.
_PIP_OPTIONS = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "proxy": ("ALL_PROXY", "HTTPS_PROXY", "https_proxy", "all_proxy"),
}


def _say(message: str) -> None:
    print(f"set-up: {message}", flush=True)


def pick_track(system: str, machine: str, libc: tuple[str, str]) -> tuple[Track, str]:
    """The newest track that a machine's C library (name and version) allows, and why; a SetupError if none does."""
    hint = "use a Linux x86_64 machine or container with glibc, such as Debian 12 or Ubuntu 24.04"
    if (system, machine, libc[0]) != ("Linux", "x86_64", "glibc"):
        raise SetupError(f"TFX has no packages for {system} {machine} with {libc[0] or 'an unknown'} libc: {hint}.")
    glibc = tuple(map(int, libc[1].split(".")[:2]))
    newest, needed = TRACKS[0], ["{}.{}".format(*track.min_glibc) for track in TRACKS]
    for track in TRACKS:
        if glibc >= track.min_glibc:
            relation = "is not older than" if track is newest else "is older than"
            return track, f"glibc {libc[1]} {relation} the {needed[0]} that TFX {newest.name} needs"
    raise SetupError(f"glibc {libc[1]} is too old, TFX needs {needed[-1]}: {hint}.")


def explain(output: str) -> Optional[str]:
    """The one line for a known failure in the output of pip or uv, or None."""
    return next((reason for signs, reason in _REASONS.items() if re.search(signs, output, re.IGNORECASE)), None)


def _run(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Runs an installer, which inherits the lock, and shows its lines as they come; an error holds them."""
    output = ""
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, env=environ, cwd=ROOT, stdout=pipe, stderr=both, close_fds=False) as child:
        assert child.stdout is not None
        for line in child.stdout:
            text = line.decode(errors="replace")
            output += text
            print(f"  {text.rstrip()}", flush=True)
    if child.returncode != 0:
        raise subprocess.CalledProcessError(child.returncode, command, output)


def index_settings(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What `pip config list` printed (files and PIP_ variables) as variables for uv, but for what `environ` sets."""
    settings = {}
    for section in ("global", "install", ":env:"):  # the later counts more
        for option, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", pip_config, re.MULTILINE):
            names = _PIP_OPTIONS.get(option, ())
            words = str(ast.literal_eval(value)).split()
            if names and words and not any(name in environ for name in names):
                settings[names[0]] = " ".join(words)
    return settings


def _bring_uv(venv: pathlib.Path, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The pinned uv, installed into `<venv>/.uv` unless it is there, and the environment to run it in."""
    home, pin = venv / ".uv", ROOT / "requirements" / "uv.txt"
    uv, pip = str(home / "bin" / "uv"), [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    try:
        version = subprocess.check_output([uv, "--version"], text=True).split()[1]
    except (OSError, subprocess.CalledProcessError):
        version = None
    if f"uv=={version} " not in pin.read_text(encoding="utf-8"):
        _say("installing uv")
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)], environ)
        _run([*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(pin)], environ)
    pip_config = subprocess.check_output([*pip, "config", "list"], env=environ, text=True)
    return uv, {**environ, "UV_NO_PROGRESS": "1", **index_settings(pip_config, environ)}


def find_python(uv: str, wanted: str, environ: Mapping[str, str]) -> Optional[str]:
    """A Python that fits and has C headers, for pyfarmhash is compiled; None if this machine has none.

    uv knows those on PATH and its own; pyenv's are added, whose shims fail for versions that are not selected.
    """
    pyenv = pathlib.Path(environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    path = os.pathsep.join([environ.get("PATH", ""), *map(str, pyenv.glob("versions/3.*/bin"))])
    listing = [uv, "python", "list", "--only-installed", "--output-format=json", f"cpython{wanted}"]
    listed = subprocess.check_output(listing, env={**environ, "PATH": path}, stderr=subprocess.DEVNULL)
    headers = "import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))"
    for found in json.loads(listed):
        if subprocess.call([found["path"], "-I", "-c", headers], stderr=subprocess.DEVNULL) == 0:
            return str(found["path"])
    return None


@contextlib.contextmanager
def _locked(venv: pathlib.Path) -> Iterator[None]:
    """Holds the environment against a second set-up, also while a killed one's installer still works."""
    venv.mkdir(parents=True, exist_ok=True)
    with open(venv / LOCK, "w", encoding="utf-8") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another set-up of the same environment")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(venv: pathlib.Path, environ: Mapping[str, str]) -> None:
    """Makes or refreshes the environment in the folder `venv`, whose lock is held."""
    track, why = pick_track(platform.system(), platform.machine(), platform.libc_ver())
    stamp, python = venv / STAMP, venv / "bin" / "python"
    lock = ROOT / "requirements" / f"tfx-{track.name}.txt"
    sources = [path.read_bytes() for path in (lock, ROOT / "setup.py", ROOT / "pyproject.toml")]
    digest = hashlib.sha256(b"".join([bytes(ROOT), *sources])).hexdigest()
    # Its scripts name the folder: a copied environment is made anew.
    target = f"TFX {track.name} in {venv}\n"
    done = stamp.read_text(encoding="utf-8") if stamp.exists() and python.exists() else ""
    if done == target + digest:
        _say(f"{venv} is up to date: TFX {track.name}, because {why}")
        return
    _say(f"TFX {track.name}, because {why}")
    started = time.monotonic()
    compilers = (environ.get("CXX", "").partition(" ")[0], "g++", "c++", "clang++")
    if not any(name and shutil.which(name, path=environ.get("PATH")) for name in compilers):
        raise SetupError("there is no C++ compiler, which pyfarmhash needs (Debian, Ubuntu: apt install g++).")
    uv, environ = _bring_uv(venv, environ)
    stamp.unlink(missing_ok=True)
    if not done.startswith(target):
        for folder in venv.iterdir() if (venv / "pyvenv.cfg").exists() else ():
            if folder.is_dir() and not folder.is_symlink() and folder.name != ".uv":
                shutil.rmtree(folder)
        found = find_python(uv, track.python, environ)
        if found is None:
            _say(f"no Python {track.python} with C headers (Python.h) is here, so one is downloaded")
        choice = ["--python", found] if found else ["--python", f"cpython{track.python}", "--managed-python"]
        _run([uv, "venv", "--quiet", "--allow-existing", *choice, str(venv)], environ)
    _say(f"installing the packages of {lock.name}, a few minutes the first time")
    options = ["--python", str(python)]
    checked = ["--require-hashes", "--build-constraint", str(lock)]
    _run([uv, "pip", "sync", *options, *checked, "--compile-bytecode", str(lock)], environ)
    _say("installing the project")
    # setuptools is locked above: no isolation, no download. A plain path entry sees new packages at once.
    options += ["--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat"]
    _run([uv, "pip", "install", "--quiet", *options, "--editable", str(ROOT)], environ)
    stamp.write_text(target + digest, encoding="utf-8")
    _say(f"done in {time.monotonic() - started:.0f} s")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes the project's environment, or runs the pinned uv.")
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / ".venv", help="the environment's folder")
    parser.add_argument("uv", nargs=argparse.REMAINDER, help="uv's arguments, to run it alone, as pip is configured")
    options = parser.parse_args(arguments)
    venv = options.venv.resolve()
    # Without bytecode every import of TFX takes half a minute; the others would misdirect the installers.
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET")
    environ = {name: value for name, value in os.environ.items() if name not in left_out}
    try:
        with _locked(venv):
            if options.uv:
                uv, environ = _bring_uv(venv, environ)
                _run([uv, *options.uv], environ)
            else:
                set_up(venv, environ)
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    except (OSError, subprocess.CalledProcessError) as error:
        reason = explain(f"{error} {getattr(error, 'output', '')}")
        print(f"set-up failed: {reason or error}", file=sys.stderr)
        return 2 if reason or isinstance(error, OSError) else 1
    except KeyboardInterrupt:
        print("set-up interrupted; the next one starts over.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
