"""Set-up and packaging: track, interpreter, interrupted installs, lock files, distribution, Makefile, CI's script."""

import errno
import functools
import hashlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import pipeline
from serving.promotion import files
from tests.serving.fake_replica import FakeReplica, publish

ROOT = Path(__file__).parents[1]


def load_setup_env():
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "requirements" / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup_env = load_setup_env()


# --- The track --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glibc", "name", "why"),
    [
        ("2.28", "1.16", "glibc 2.28 is older than the 2.39 that TFX 1.21 needs"),
        ("2.38", "1.16", "glibc 2.38 is older than the 2.39 that TFX 1.21 needs"),
        ("2.39", "1.21", "glibc 2.39 is not older than the 2.39 that TFX 1.21 needs"),
        ("2.41.9000", "1.21", "glibc 2.41.9000 is not older than the 2.39 that TFX 1.21 needs"),
        ("3.0", "1.21", "glibc 3.0 is not older than the 2.39 that TFX 1.21 needs"),
    ],
)
def test_the_newest_track_that_the_c_library_allows(glibc, name, why):
    track, reason = setup_env.pick_track("Linux", "x86_64", ("glibc", glibc))
    assert (track.name, reason) == (name, why)


@pytest.mark.parametrize(
    ("system", "machine", "libc", "message"),
    [
        ("Darwin", "arm64", ("", ""), "no packages for Darwin arm64 with an unknown libc: use a Linux x86_64 machine"),
        ("Linux", "aarch64", ("glibc", "2.39"), "no packages for Linux aarch64 with glibc libc: use a Linux x86_64"),
        ("Linux", "x86_64", ("musl", "1.2.5"), "no packages for Linux x86_64 with musl libc: use a Linux x86_64"),
        ("Linux", "x86_64", ("glibc", "2.17"), "glibc 2.17 is too old, TFX needs 2.28: use a Linux x86_64 machine"),
    ],
)
def test_machines_that_cannot_run_it_are_told_why(system, machine, libc, message):
    with pytest.raises(setup_env.SetupError, match=re.escape(message)) as raised:
        setup_env.pick_track(system, machine, libc)
    assert "\n" not in str(raised.value)


# --- The interpreter --------------------------------------------------------------------------------------------------


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [((0, 0), 0), ((1, 0), 1), ((127, 0), 1), ((1, 127), None), ((), None)],
    ids=["the first", "one with headers", "a shim that fails", "none that fits", "none"],
)
def test_the_first_python_that_runs_and_has_headers(tmp_path, statuses, chosen):
    pythons = [program(tmp_path / str(place), f"exit {status}") for place, status in enumerate(statuses)]
    listed = json.dumps([{"path": path} for path in pythons])
    uv = program(
        tmp_path / "uv",
        f"[ \"$*\" = 'python list --only-installed --output-format=json cpython==9.2.*' ] && echo '{listed}'",
    )
    found = setup_env.find_python(uv, "==9.2.*", {"PATH": "/usr/bin:/bin"})
    assert found == (None if chosen is None else pythons[chosen])


def test_pyenvs_pythons_are_looked_at_after_those_on_path(tmp_path):
    fitting = program(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python3.12", "exit 0")
    # Lists what is in the last folder on PATH.
    uv = program(
        tmp_path / "uv",
        """printf '[{"path": "%s/python3.12"}]' "${PATH##*:}"\ncase $PATH in /first:*) ;; *) exit 1; esac""",
    )
    environ = {"PATH": "/first:/usr/bin", "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert setup_env.find_python(uv, "==3.12.*", environ) == fitting


REAL_UV = Path(sys.prefix) / ".uv" / "bin" / "uv"


@pytest.mark.slow
@pytest.mark.smoke
def test_uv_understands_what_it_is_asked_for():
    major, minor = sys.version_info[:2]
    (track,) = [track for track in setup_env.TRACKS if SpecifierSet(track.python).contains(f"{major}.{minor}")]
    found = setup_env.find_python(str(REAL_UV), track.python, dict(os.environ))
    version = subprocess.check_output([found, "-c", "import platform; print(platform.python_version())"], text=True)
    assert SpecifierSet(track.python).contains(version.strip())


# --- What the installers say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("cause: failed to copy file: No space left on device (os error 28)", "the disk is full"),
        ("error: Failed to fetch: x\n cause: dns error", "can't be reached"),
        ("ERROR: No matching distribution found for uv==1", "can't be reached"),
        ("not created successfully because ensurepip is not\navailable.", "apt install python3-venv"),
        ("/usr/bin/python3: No module named venv", "apt install python3-venv"),
        ("error: Hash mismatch for `tfx==1.16.0`", "differs from the lock file"),
        (
            "error: Failed to download `https://x/python-build-standalone/y.tar.gz`\n  cause: dns error",
            "apt install python3-dev",
        ),
        ("error: No interpreter found for CPython ==3.10.* in managed installations", "apt install python3-dev"),
    ],
)
def test_known_failures_become_one_line(output, message):
    explanation = setup_env.explain(output)
    assert message in explanation
    assert "\n" not in explanation


def test_an_unknown_failure_is_not_guessed_at():
    assert setup_env.explain("Segmentation fault") is None


def test_pips_settings_reach_uv():
    pip_config = "\n".join(
        [
            ":env:.index-url='https://nearer/simple'",
            "global.index-url='https://mirror/simple'",
            "global.extra-index-url='https://other/simple'",
            "global.trusted-host='mirror\\nnearer'",
            "install.cert='/etc/ca.pem'",
            "global.timeout='60'",
            "broken line",
        ]
    )
    assert setup_env.index_settings(pip_config, {}) == {
        "UV_DEFAULT_INDEX": "https://nearer/simple",
        "UV_INSECURE_HOST": "mirror nearer",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_HTTP_TIMEOUT": "60",
    }


def test_uvs_own_settings_stay():
    pip_config = "global.index-url='https://mirror/simple'\nglobal.proxy='http://proxy:1'"
    environ = {"UV_INDEX_URL": "https://mine/simple", "HTTPS_PROXY": "http://mine:1"}
    assert setup_env.index_settings(pip_config, environ) == {}


@pytest.fixture
def mirror(tmp_path):
    """The address of a package index with one wheel, `thing` 1, and the wheel's digest."""
    wheel = tmp_path / "index" / "thing" / "thing-1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {
            "thing.py": "",
            "thing-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1\n",
            "thing-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "thing-1.dist-info/RECORD": "",
        }.items():
            archive.writestr(name, text)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "index"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", hashlib.sha256(wheel.read_bytes()).hexdigest()
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.smoke
def test_packages_come_from_pips_index_and_their_hashes_are_checked(mirror, tmp_path):
    address, digest = mirror
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {address}\n")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".uv").symlink_to(REAL_UV.parents[1])
    ours = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "UV_CACHE_DIR": str(tmp_path / "cache"), "NO_PROXY": "*"}
    others = {name: "" for name in os.environ if name.startswith(("PIP_", "UV_"))}

    def install(digest):
        (tmp_path / "lock.txt").write_text(f"thing==1 --hash=sha256:{digest}\n")
        target = str(tmp_path / "site")
        arguments = ["pip", "sync", "--require-hashes", "--target", target, str(tmp_path / "lock.txt")]
        return run_script("--venv", str(tmp_path / "venv"), *arguments, **{**others, **ours})

    done = install("0" * 64)
    assert done.returncode == 2
    assert "differs from the lock file" in done.stderr
    assert not (tmp_path / "site" / "thing.py").exists()
    assert install(digest).returncode == 0
    assert (tmp_path / "site" / "thing.py").exists()


# --- Making the environment -------------------------------------------------------------------------------------------


@pytest.fixture
def installs(monkeypatch, tmp_path):
    """Stands in for uv: records the commands, and makes the environment's interpreter as `uv venv` does."""
    commands = []

    def run(command, environ):
        commands.append(" ".join(command[1:3] if command[1] == "pip" else command[1:2]))
        if command[1] == "venv":
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch(mode=0o755)
            (Path(command[-1]) / "pyvenv.cfg").touch()

    monkeypatch.setattr(setup_env, "_run", run)
    monkeypatch.setattr(setup_env, "_bring_uv", lambda venv, environ: ("uv", environ))
    monkeypatch.setattr(setup_env, "find_python", lambda uv, wanted, environ: sys.executable)
    monkeypatch.setattr(setup_env.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Linux")
    monkeypatch.setattr(setup_env.platform, "machine", lambda: "x86_64")
    (tmp_path / "venv").mkdir()
    return commands


def take(commands):
    taken = list(commands)
    commands.clear()
    return taken


def set_up(venv):
    setup_env.set_up(venv, {"PATH": os.environ["PATH"], "CXX": f"{sys.executable} -O2"})


EVERYTHING = ["venv", "pip sync", "pip install"]
REFRESH = ["pip sync", "pip install"]


def test_the_second_time_nothing_is_done(installs, tmp_path, capsys):
    set_up(tmp_path / "venv")
    assert take(installs) == EVERYTHING
    set_up(tmp_path / "venv")
    assert take(installs) == []
    last = capsys.readouterr().out.splitlines()[-1]
    reason = "TFX 1.16, because glibc 2.36 is older than the 2.39 that TFX 1.21 needs"
    assert last == f"set-up: {tmp_path / 'venv'} is up to date: {reason}"


@pytest.mark.parametrize("name", ["requirements/tfx-1.16.txt", "setup.py", "pyproject.toml"])
def test_a_changed_lock_or_project_is_brought_up_to_date_in_place(installs, monkeypatch, tmp_path, name):
    root = tmp_path / "root"
    (root / "requirements").mkdir(parents=True)
    for source in ("requirements/tfx-1.16.txt", "setup.py", "pyproject.toml"):
        (root / source).write_text("before")
    monkeypatch.setattr(setup_env, "ROOT", root)
    set_up(tmp_path / "venv")
    take(installs)
    (root / name).write_text("after")
    set_up(tmp_path / "venv")
    assert take(installs) == REFRESH
    set_up(tmp_path / "venv")
    assert take(installs) == []


@pytest.mark.parametrize("change", ["track", "place", "interpreter"])
def test_another_track_place_or_interpreter_starts_anew(installs, monkeypatch, tmp_path, change):
    venv = tmp_path / "venv"
    set_up(venv)
    take(installs)
    for folder in (".uv", "lib"):
        (venv / folder).mkdir()
        (venv / folder / "old").touch()
    if change == "track":
        monkeypatch.setattr(setup_env.platform, "libc_ver", lambda: ("glibc", "2.41"))
    elif change == "place":
        shutil.copytree(venv, tmp_path / "copy")
        venv = tmp_path / "copy"
    else:
        (venv / "bin" / "python").unlink()
    set_up(venv)
    assert take(installs) == EVERYTHING
    assert not (venv / "lib").exists()
    assert (venv / ".uv" / "old").exists()


def test_a_folder_that_is_no_environment_loses_nothing(installs, tmp_path):
    (tmp_path / "venv" / "photos").mkdir()
    set_up(tmp_path / "venv")
    assert (tmp_path / "venv" / "photos").exists()


@pytest.mark.parametrize(
    ("killed_at", "refreshing"), [*((step, False) for step in EVERYTHING), *((step, True) for step in REFRESH)]
)
def test_a_killed_set_up_is_done_again(installs, monkeypatch, tmp_path, killed_at, refreshing):
    run = setup_env._run
    venv = tmp_path / "venv"
    if refreshing:
        set_up(venv)
        (venv / setup_env.STAMP).write_text((venv / setup_env.STAMP).read_text() + "0")

    def killed(command, environ):
        run(command, environ)
        if installs[-1] == killed_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(setup_env, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        set_up(venv)
    monkeypatch.setattr(setup_env, "_run", run)
    take(installs)
    set_up(venv)
    assert take(installs) == EVERYTHING


@pytest.mark.parametrize("found", ["/usr/bin/python3.10", None])
def test_a_python_is_downloaded_where_none_fits(installs, monkeypatch, tmp_path, capsys, found):
    monkeypatch.setattr(setup_env, "find_python", lambda uv, wanted, environ: found)
    run, choices = setup_env._run, []
    monkeypatch.setattr(
        setup_env, "_run", lambda command, environ: (choices.append(list(command[4:-1])), run(command, environ))
    )
    set_up(tmp_path / "venv")
    downloaded = ["--python", "cpython==3.10.*", "--managed-python"]
    assert choices[0] == (["--python", found] if found else downloaded)
    assert ("so one is downloaded" in capsys.readouterr().out) == (found is None)


@pytest.mark.parametrize(
    ("answer", "installed"),
    [("echo uv {pinned} x86_64", False), ("echo uv 0.1.0", True), ("exit 126", True), (None, True)],
    ids=["the pinned one", "another", "a broken one", "none"],
)
def test_uv_is_installed_unless_the_pinned_one_works(monkeypatch, tmp_path, answer, installed):
    pinned = re.search(r"^uv==([\d.]+) ", (ROOT / "requirements" / "uv.txt").read_text(), re.MULTILINE)[1]
    commands = []

    def run(command, environ):
        commands.append(list(command[1:4]))
        program(tmp_path / ".uv" / "bin" / "python", "echo \"global.timeout='7'\"")

    if answer is not None:
        program(tmp_path / ".uv" / "bin" / "uv", answer.format(pinned=pinned))
        program(tmp_path / ".uv" / "bin" / "python", "echo \"global.timeout='7'\"")
    monkeypatch.setattr(setup_env, "_run", run)
    uv, environ = setup_env._bring_uv(tmp_path, {"KEPT": "1"})
    assert uv == str(tmp_path / ".uv" / "bin" / "uv")
    assert environ == {"KEPT": "1", "UV_NO_PROGRESS": "1", "UV_HTTP_TIMEOUT": "7"}
    assert commands == (
        [["-m", "venv", str(tmp_path / ".uv")], ["-m", "pip", "--disable-pip-version-check"]] if installed else []
    )


# Holds the lock of the folder that it is given, and runs the rest of its arguments under it.
HOLDER = f"""
import pathlib, sys
sys.path.insert(0, {str(ROOT / "requirements")!r})
import setup_env
with setup_env._locked(pathlib.Path(sys.argv[1])):
    setup_env._run(sys.argv[2:], {{}})
"""


def hold(folder, *command):
    holder = [sys.executable, "-B", "-c", HOLDER, str(folder), *command]
    return subprocess.Popen(holder, stdout=subprocess.PIPE, text=True)


def test_a_second_set_up_waits_for_the_first(tmp_path):
    with setup_env._locked(tmp_path):
        second = hold(tmp_path, "/bin/echo", "held")
        assert "waiting for another set-up" in second.stdout.readline()
        assert second.poll() is None
    assert second.stdout.readline() == "  held\n"
    second.stdout.close()
    assert second.wait(timeout=300) == 0


def test_a_killed_set_up_keeps_others_out_until_its_installer_is_done(tmp_path):
    first = hold(tmp_path, "/bin/sh", "-c", "echo $$; exec sleep 60")
    installer = int(first.stdout.readline())
    first.kill()
    first.wait(timeout=300)
    second = hold(tmp_path, "/bin/echo", "held")
    assert "waiting for another set-up" in second.stdout.readline()
    os.kill(installer, signal.SIGKILL)
    assert second.stdout.readline() == "  held\n"
    for process in (first, second):
        process.stdout.close()
    assert second.wait(timeout=300) == 0


def run_script(*arguments, **environ):
    return subprocess.run(
        [sys.executable, str(ROOT / "requirements" / "setup_env.py"), *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_compiler_it_says_so(tmp_path):
    done = run_script("--venv", str(tmp_path / "venv"), PATH=str(tmp_path), CXX="")
    assert done.returncode == 2
    assert done.stderr == (
        "set-up failed: there is no C++ compiler, which pyfarmhash needs (Debian, Ubuntu: apt install g++).\n"
    )


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full: free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 2, "Permission denied: '/root/x'"),
        (subprocess.CalledProcessError(1, ["uv"], "  cause: dns error"), 2, "the package index can't be reached"),
        (subprocess.CalledProcessError(9, ["uv", "venv"], "odd"), 1, "'venv']' returned non-zero exit status 9"),
        (KeyboardInterrupt(), 130, "set-up interrupted"),
    ],
    ids=["disk full", "not allowed", "no network", "unknown", "interrupted"],
)
def test_a_failure_is_one_line_and_its_exit_code_says_whose_it_is(
    monkeypatch, tmp_path, capsys, error, status, message
):
    def fail(venv, environ):
        raise error

    monkeypatch.setattr(setup_env, "set_up", fail)
    assert setup_env.main(["--venv", str(tmp_path)]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_without_a_network_it_says_so(tmp_path):
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    environ = {**unreachable, "PIP_NO_CACHE_DIR": "1", "PIP_FIND_LINKS": ""}
    done = run_script("--venv", str(tmp_path), "pip", "list", **environ)
    assert done.returncode == 2
    assert "set-up failed: the package index can't be reached: check" in done.stderr


# --- The lock files and the package -----------------------------------------------------------------------------------


def extras():
    """The names in setup.py's extras `pipeline`, `ials` and `dev`, which need no marker."""
    text = (ROOT / "setup.py").read_text()
    scope = {}
    lists = re.findall(r"^(CLIENT|PIPELINE|IALS|BENCH|NOTIFY|OTEL|DEV) = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    for name, source in lists:
        scope[name] = eval(source, {}, scope)  # a list of strings
    wanted = [line for line in (*scope["PIPELINE"], *scope["IALS"], *scope["DEV"]) if ";" not in line]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in wanted}


@pytest.mark.parametrize("track", setup_env.TRACKS, ids=lambda track: track.name)
def test_a_lock_file_has_every_dependency_pinned_and_hashed(track):
    text = (ROOT / "requirements" / f"tfx-{track.name}.txt").read_text()
    assert text.startswith("# This file was autogenerated by uv via the following command:\n#    make lock\n")
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))
    assert extras() <= set(locked)
    assert locked["tfx"] == f"{track.name}.0"
    assert locked["tensorflow-recommenders"] == "0.7.7"
    entries = re.split(r"^(?=\w)", "\n".join(text.splitlines()[2:]), flags=re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())
    assert "://" not in text  # no registry's address
    pins = (ROOT / "requirements" / f"tfx-{track.name}.in").read_text()
    for name, version in re.findall(r"^([\w.-]+)==(.+)$", pins, re.MULTILINE):
        assert locked[name] == version


def test_uv_is_pinned_and_hashed():
    text = (ROOT / "requirements" / "uv.txt").read_text()
    assert re.search(r"^uv==[\d.]+ \\$", text, re.MULTILINE)
    assert "--hash=sha256:" in text


@pytest.mark.slow
@pytest.mark.smoke
def test_the_source_distribution_is_complete_and_installs_as_beams_setup_file(tmp_path):
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md", "pipeline", "components", "serving", "kubeflow"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tmp_path)
    subprocess.run([sys.executable, "setup.py", "-q", "sdist"], cwd=tmp_path, check=True, capture_output=True)
    (archive,) = (tmp_path / "dist").iterdir()
    assert pipeline.__version__ in archive.name
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        tar.extractall(tmp_path / "unpacked")
    expected = {
        str(path.relative_to(ROOT))
        for room in ("pipeline", "components", "serving", "kubeflow")
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".proto", ".j2", ".yaml") and "__pycache__" not in path.parts
    }
    assert expected <= names
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run([sys.executable, *install, str(unpacked)], check=True, capture_output=True)
    assert (tmp_path / "site" / "serving" / "protos" / "serving.proto").exists()
    assert (tmp_path / "site" / "pipeline" / "cli" / "app.py").exists()
    assert not (tmp_path / "site" / "tests").exists()


# --- The client alone -------------------------------------------------------------------------------------------------

CLIENT_NEEDS = ("grpc", "google/protobuf", "google/_upb", "prometheus_client", "typing_extensions.py")
"""What the distributions that the client's names as its needs have, and what they need."""
USERS_SCRIPT = """
import sys

from prometheus_client import CollectorRegistry, generate_latest

from serving.client import Breaker, FileFallback, Hedge, InvalidRequest, RecommenderClient, Retry
from serving.client.prometheus import MetricsCollector


def top(client: RecommenderClient, user: str) -> list[str]:
    return [item.item_id for item in client.recommend(user_id=user, exclude=["i01"], k=3)]


with RecommenderClient(
    sys.argv[1:], model="m", timeout=5.0, retry=Retry(attempts=2), hedge=Hedge(quantile=0.9), breaker=Breaker()
) as client:
    found = top(client, "42")
    try:
        client.recommend(k=-1)
    except InvalidRequest:
        found.append("refused")
    registry = CollectorRegistry()
    registry.register(MetricsCollector(client.metrics))
    assert b"recommender_client" in generate_latest(registry)
print(found, sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "numpy", "pydantic", "pipeline"}))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the client's wheel in dist/, and an environment, venv/, with it and what it needs."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("client", "serving"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["--quiet", "--offline", "--no-config", f"--python={sys.executable}"]
    build = [REAL_UV, "build", *options, "--wheel", "--no-build-isolation", f"--out-dir={folder}/dist"]
    subprocess.run([*build, str(folder / "client")], check=True, capture_output=True)
    subprocess.run([REAL_UV, "venv", *options, str(folder / "venv")], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    options[-1] = f"--python={folder}/venv/bin/python"
    subprocess.run([REAL_UV, "pip", "install", *options, "--no-deps", str(wheel)], check=True)
    site, ours = (
        Path(
            subprocess.check_output(
                [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
            )[:-1]
        )
        for python in (folder / "venv" / "bin" / "python", sys.executable)
    )
    for name in CLIENT_NEEDS:
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).symlink_to(ours / name)
    return folder


@pytest.mark.slow
@pytest.mark.smoke
def test_the_clients_wheel_has_the_client_alone(alone):
    (wheel,) = (alone / "dist").glob("*.whl")
    assert wheel.name == f"recommender_client-{pipeline.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 100_000
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        (metadata,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    of_client = {f"serving/{path.relative_to(ROOT / 'serving')}" for path in (ROOT / "serving" / "client").glob("*.py")}
    assert of_client < set(names)
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == {"client", "protos"}
    assert "serving/py.typed" in names
    needs = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    assert needs == ["grpcio>=1.48", "prometheus-client", "protobuf>=3.20.3"]
    assert all(f'"{need}"' in (ROOT / "setup.py").read_text() for need in needs)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_client_alone_asks_a_server(alone):
    (alone / "script.py").write_text(USERS_SCRIPT)
    publish(alone / "models", "m", 1)
    with FakeReplica(files.parse_config(files.render(None, "m", str(alone / "models" / "m"), {}, None))) as server:
        command = [alone / "venv" / "bin" / "python", "-I", "script.py", server.target]
        told = subprocess.run(command, cwd=alone, capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("['i00', 'i02', 'i03', 'refused'] []\n", "")


@pytest.mark.slow
def test_a_users_script_is_typed(alone):
    (alone / "user").mkdir()
    (alone / "user" / "typed.py").write_text(
        f"{USERS_SCRIPT}\nreveal_type(top(client, '42'))\nreveal_type(client.recommend())"
    )
    mypy = ["-m", "mypy", "--strict", "--no-incremental", f"--python-executable={alone}/venv/bin/python", "typed.py"]
    told = subprocess.run([sys.executable, *mypy], cwd=alone / "user", capture_output=True, text=True, check=False)
    revealed = re.findall(r'Revealed type is "(.*)"', told.stdout)
    assert revealed == ["list[str]", "serving.client.results.RecommendationList"]
    assert told.stdout.endswith("Success: no issues found in 1 source file\n"), told.stdout


# --- Makefile and CI --------------------------------------------------------------------------------------------------


def make(*arguments):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "-C", str(ROOT), *arguments], env=environ, capture_output=True, text=True, check=True
    )


def test_make_alone_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    listed = re.findall(r"^  make (\S+) +\S", make("--no-print-directory").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony)


def test_make_sets_up_once_however_many_targets():
    commands = make("-n", "-j8", "lint", "test", "run").stdout.splitlines()
    assert sum("setup_env.py" in command for command in commands) == 1
    assert any("recommender demo --config configs/movielens_100k.yaml" in command for command in commands)


def test_make_lock_writes_every_lock_file_from_setup_py():
    commands = [words for words in make("-n", "lock").stdout.replace("\\\n", " ").splitlines() if "compile" in words]
    written = re.findall(r"--output-file=requirements/(\S+)", " ".join(commands))
    assert written == ["tfx-1.21.txt", "tfx-1.16.txt", "image.txt", "client.txt"]
    for command in commands:
        assert re.search(r"setup_env\.py --venv \S+ pip compile .* setup\.py .*--constraint=requirements/tfx-", command)
        assert "--upgrade" not in command
    assert make("-n", "lock", "UPGRADE=1").stdout.count(" --upgrade ") == len(commands)


def test_make_lets_bytecode_be_written(tmp_path):
    (tmp_path / "Makefile").write_text(
        f'include {ROOT / "Makefile"}\nshow:\n\t@echo "[$$PYTHONDONTWRITEBYTECODE] [$$TF_USE_LEGACY_KERAS]"\n'
    )
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "-s", "--no-print-directory", "-C", str(tmp_path), "show"]
    assert subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout == "[] [1]\n"


@pytest.mark.parametrize(
    ("tests", "skipped", "make_status", "expected"),
    [(3, 1, 0, 0), (0, 0, 0, 1), (2, 2, 0, 1), (3, 0, 2, 2)],
    ids=["passes", "nothing collected", "all skipped", "a test fails"],
)
def test_ci_fails_unless_tests_ran(tmp_path, tests, skipped, make_status, expected):
    suites = ElementTree.Element("testsuites")
    ElementTree.SubElement(suites, "testsuite", tests=str(tests), skipped=str(skipped))
    report = tmp_path / "report.xml"
    ElementTree.ElementTree(suites).write(report)
    fake = tmp_path / "make"
    fake.write_text(
        f"""#!/bin/sh
echo "make $1" >> {tmp_path}/calls
[ "$1" = lint ] && exit 0
file=${{2#*--junitxml=}}
cp {report} "${{file%% *}}"
exit {make_status}
"""
    )
    fake.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "OTHER_TRACK": "0"}
    done = subprocess.run([str(ROOT / ".ci" / "run")], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    assert (tmp_path / "calls").read_text() == "make lint\nmake test\n"
    assert ("ci: not tested on the other TFX track: OTHER_TRACK=0" in done.stdout) == (expected == 0)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_other_tracks_script_never_touches_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "precious").touch()
    script = ROOT / "tests" / "other_track" / "run.sh"
    done = subprocess.run([str(script), str(tmp_path / "root")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    expected = "is not a root of this script" if os.getuid() == 0 else "run it as root"
    assert expected in done.stderr
    assert (tmp_path / "root" / "precious").exists()
