"""Set-up and packaging: track, interpreter, interrupted installs, lock files, distribution, Makefile, CI's script."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import pipeline

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
        ((2, 28), "1.16", "glibc 2.28 is older than the 2.39 that TFX 1.21 needs"),
        ((2, 38), "1.16", "glibc 2.38 is older than the 2.39 that TFX 1.21 needs"),
        ((2, 39), "1.21", "glibc 2.39 is not older than the 2.39 that TFX 1.21 needs"),
        ((3, 0), "1.21", "glibc 3.0 is not older than the 2.39 that TFX 1.21 needs"),
    ],
)
def test_the_newest_track_that_the_c_library_allows(glibc, name, why):
    track, reason = setup_env.pick_track("Linux", "x86_64", glibc)
    assert (track.name, reason) == (name, why)


def test_a_track_can_be_asked_for():
    track, _ = setup_env.pick_track("Linux", "x86_64", (2, 41), "1.16")
    assert track.name == "1.16"


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "wanted", "message"),
    [
        ("Darwin", "arm64", None, None, "no packages for Darwin"),
        ("Linux", "aarch64", (2, 39), None, "no packages for aarch64 processors"),
        ("Linux", "x86_64", None, None, "without glibc"),
        ("Linux", "x86_64", (2, 17), None, "glibc 2.17 is too old, TFX needs 2.28"),
        ("Linux", "x86_64", (2, 36), "1.21", "TFX 1.21 needs glibc 2.39, this system has 2.36: leave out --track"),
    ],
)
def test_machines_that_cannot_run_it_are_told_why(system, machine, glibc, wanted, message):
    with pytest.raises(setup_env.SetupError, match=re.escape(message)) as raised:
        setup_env.pick_track(system, machine, glibc, wanted)
    assert "\n" not in str(raised.value)


# --- The interpreter --------------------------------------------------------------------------------------------------


def fake_python(path: Path, version, headers=True, status=0):
    """A program that answers the probe like a Python of that version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps([str(path), list(version), headers])
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def pythons(tmp_path):
    """An environment whose PATH and pyenv hold nothing yet."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path / "pyenv"), "HOME": str(tmp_path)}


# A version that the tests' own interpreter, which is looked at first, can't have.
WANTED = ((9, 2), (9, 1))


def test_an_interpreter_on_path_is_preferred_to_pyenv(pythons, tmp_path):
    expected = fake_python(tmp_path / "bin" / "python9.2", (9, 2))
    fake_python(tmp_path / "pyenv" / "versions" / "9.2.7" / "bin" / "python", (9, 2))
    assert setup_env.find_interpreter(WANTED, pythons) == (expected, None)


def test_a_failing_shim_is_passed_over_for_pyenvs_folder(pythons, tmp_path):
    fake_python(tmp_path / "bin" / "python9.2", (9, 2), status=127)
    expected = fake_python(tmp_path / "pyenv" / "versions" / "9.2.7" / "bin" / "python", (9, 2))
    assert setup_env.find_interpreter(WANTED, pythons) == (expected, None)


def test_the_second_version_serves_where_the_first_is_missing(pythons, tmp_path):
    fake_python(tmp_path / "bin" / "python3", (9, 0))
    expected = fake_python(tmp_path / "pyenv" / "versions" / "9.1.1" / "bin" / "python", (9, 1))
    assert setup_env.find_interpreter(WANTED, pythons) == (expected, None)


def test_an_interpreter_without_headers_is_only_reported(pythons, tmp_path):
    path = fake_python(tmp_path / "bin" / "python9.2", (9, 2), headers=False)
    found, headless = setup_env.find_interpreter(WANTED, pythons)
    assert found is None
    assert headless.path == path
    other = fake_python(tmp_path / "bin" / "python9.1", (9, 1))
    assert setup_env.find_interpreter(WANTED, pythons)[0] == other


def test_no_interpreter(pythons, tmp_path):
    (tmp_path / "bin" / "python9.2").write_text("not a program")
    assert setup_env.find_interpreter(WANTED, pythons) == (None, None)


def test_the_probe_describes_a_real_interpreter():
    interpreter = setup_env._probe(sys.executable)
    assert interpreter.version == sys.version_info[:2]
    assert os.path.exists(interpreter.path)


# --- What the installers say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("cause: failed to copy file: No space left on device (os error 28)", "the disk is full"),
        ("error: Failed to fetch: x\n cause: dns error", "can't be reached"),
        ("ERROR: No matching distribution found for uv==1", "can't be reached"),
        ("src/python-farmhash.cc:1: fatal error: Python.h: No such file or directory", "apt install python3-dev"),
        ("not created successfully because ensurepip is not\navailable.", "apt install python3-venv"),
        ("/usr/bin/python3: No module named venv", "apt install python3-venv"),
        ("error: Hash mismatch for `tfx==1.16.0`", "differs from the lock file"),
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
            "global.index-url='https://mirror/simple'",
            ":env:.index-url='https://nearer/simple'",
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


# --- Making the environment -------------------------------------------------------------------------------------------


@pytest.fixture
def installs(monkeypatch, tmp_path):
    """Stands in for uv: records the commands, and makes the environment's interpreter as `uv venv` does."""
    commands = []

    def run(command, environ, lock_fd):
        words = list(command)
        commands.append(" ".join(words[1:4] if words[1] == "pip" else words[1:2]))
        if words[1] == "venv":
            python = Path(words[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch(mode=0o755)

    monkeypatch.setattr(setup_env, "_run", run)
    monkeypatch.setattr(setup_env, "_check_machine", lambda venv, environ: None)
    monkeypatch.setattr(setup_env, "_bootstrap_uv", lambda venv, environ, lock_fd: "uv")
    monkeypatch.setattr(setup_env, "_uv_environ", lambda venv, environ: environ)
    monkeypatch.setattr(setup_env, "_find_or_download_python", lambda uv, track, environ, lock_fd: sys.executable)
    monkeypatch.setattr(setup_env, "glibc_version", lambda: (2, 36))
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Linux")
    monkeypatch.setattr(setup_env.platform, "machine", lambda: "x86_64")
    return commands


def take(commands):
    taken = list(commands)
    commands.clear()
    return taken


EVERYTHING = ["venv", "pip sync --python", "pip install --quiet"]
PROJECT_ONLY = ["pip install --quiet"]


def test_the_second_time_nothing_is_done(installs, tmp_path, capsys):
    setup_env.set_up(tmp_path / "venv", None, {})
    assert take(installs) == EVERYTHING
    setup_env.set_up(tmp_path / "venv", None, {})
    assert take(installs) == []
    last = capsys.readouterr().out.splitlines()[-1]
    reason = "TFX 1.16, because glibc 2.36 is older than the 2.39 that TFX 1.21 needs"
    assert last == f"set-up: {tmp_path / 'venv'} is up to date: {reason}"


def test_a_changed_setup_py_installs_the_project_only(installs, monkeypatch, tmp_path):
    setup_env.set_up(tmp_path / "venv", None, {})
    take(installs)
    stamp = tmp_path / "venv" / setup_env.STAMP
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "project": "before"}))
    setup_env.set_up(tmp_path / "venv", None, {})
    assert take(installs) == PROJECT_ONLY


@pytest.mark.parametrize("change", [{"lock": "before"}, {"track": "1.21"}, {"venv": "/elsewhere"}, {"python": "/gone"}])
def test_another_lock_track_place_or_interpreter_starts_anew(installs, tmp_path, change):
    venv = tmp_path / "venv"
    setup_env.set_up(venv, None, {})
    take(installs)
    (venv / "lib").mkdir()
    (venv / "lib" / "old.py").touch()
    (venv / setup_env.STAMP).write_text(json.dumps({**json.loads((venv / setup_env.STAMP).read_text()), **change}))
    setup_env.set_up(venv, None, {})
    assert take(installs) == EVERYTHING
    assert not (venv / "lib").exists()


@pytest.mark.parametrize("killed_at", EVERYTHING)
def test_a_killed_set_up_is_done_again(installs, monkeypatch, tmp_path, killed_at):
    run = setup_env._run

    def killed(command, environ, lock_fd):
        run(command, environ, lock_fd)
        if installs[-1] == killed_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(setup_env, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        setup_env.set_up(tmp_path / "venv", None, {})
    monkeypatch.setattr(setup_env, "_run", run)
    take(installs)
    setup_env.set_up(tmp_path / "venv", None, {})
    assert take(installs) == EVERYTHING


def test_a_second_set_up_waits_for_the_first(tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "requirements")!r})
import setup_env, pathlib
with setup_env._locked(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
"""
    with setup_env._locked(tmp_path):
        second = subprocess.Popen([sys.executable, "-B", "-c", program], stdout=subprocess.PIPE, text=True)
        assert "waiting for another set-up" in second.stdout.readline()
        assert second.poll() is None
    assert second.stdout.readline() == "held\n"
    second.stdout.close()
    assert second.wait(timeout=30) == 0


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


def test_a_full_disk_is_noticed_before_the_download(monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**9}))
    with pytest.raises(setup_env.SetupError, match=r"only 1\.0 GB are free at .*, about 5 are needed"):
        setup_env._check_machine(tmp_path, {"PATH": os.environ["PATH"], "CXX": sys.executable})


@pytest.mark.slow
def test_without_a_network_it_says_so(tmp_path):
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    environ = {**os.environ, **unreachable, "PIP_NO_CACHE_DIR": "1", "PIP_FIND_LINKS": ""}
    with setup_env._locked(tmp_path) as lock_fd, pytest.raises(setup_env.SetupError, match="can't be reached: check"):
        setup_env._bootstrap_uv(tmp_path, environ, lock_fd)
    assert not (tmp_path / ".uv" / setup_env.STAMP).exists()


# --- The lock files and the package -----------------------------------------------------------------------------------


def extras():
    """The names in setup.py's extras `pipeline`, `ials` and `dev`, which need no marker."""
    text = (ROOT / "setup.py").read_text()
    scope = {}
    lists = re.findall(r"^(CLIENT|PIPELINE|IALS|BENCH|DEV) = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    for name, source in lists:
        scope[name] = eval(source, {}, scope)  # a list of strings
    wanted = [line for line in (*scope["PIPELINE"], *scope["IALS"], *scope["DEV"]) if ";" not in line]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in wanted}


@pytest.mark.parametrize("track", setup_env.TRACKS, ids=lambda track: track.name)
def test_a_lock_file_has_every_dependency_pinned_and_hashed(track):
    text = track.lock.read_text()
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
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([str(ROOT / ".ci" / "run")], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    assert (tmp_path / "calls").read_text() == "make lint\nmake test\n"


def test_the_other_tracks_script_never_touches_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "precious").touch()
    script = ROOT / "tests" / "other_track" / "run.sh"
    done = subprocess.run([str(script), str(tmp_path / "root")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    expected = "is not a root of this script" if os.getuid() == 0 else "run it as root"
    assert expected in done.stderr
    assert (tmp_path / "root" / "precious").exists()
