"""docs/kubeflow.md: its commands, files and config are those of the project, and its config really is submitted."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config
from tests import forks
from tests.docs.pages import blocks, read
from tests.kubeflow.kfp_api import KfpApi
from tests.pipeline.cli.command import check_command_line

ROOT = Path(__file__).parents[2]
PAGE = "docs/kubeflow.md"
TEXT = read(PAGE)
CONFIG = ROOT / "configs" / "movielens_100k.yaml"


def cluster_yaml(folder: Path) -> Path:
    """The config that is laid over another, with the secrets that are shown after it."""
    main, secrets = (block.text for block in blocks(PAGE, "yaml"))
    content = yaml.safe_load(main)
    content["kubeflow"].update(yaml.safe_load(secrets))
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def commands() -> list[list[str]]:
    """The calls of `recommender` in the shell blocks, variables of the page put in."""
    text = "\n".join(block.text for block in blocks(PAGE, "sh")).replace("\\\n", " ")
    (options,) = re.findall(r'^options="(.*)"$', text, re.MULTILINE)
    text = text.replace("$options", options).replace("$inside ", "recommender ")
    found = re.findall(r"^recommender (.*)$|kubectl run .* -- (query.*)$", text, re.MULTILINE)
    return [shlex.split(whole or asked, comments=True) for whole, asked in found]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_commands_have_the_options_that_are_shown(command):
    check_command_line(command)


def test_the_page_shows_all_that_there_is():
    shown = {command[0] for command in commands()}
    assert {"validate", "compile", "submit", "trigger", "query", "promote", "rollback", "canary", "versions"} <= shown
    for path in re.findall(
        r"(?:tests/)?kubeflow/[\w/.-]+\w|\.github/[\w/.]+\w|requirements/\w+\.txt|configs/\w+\.yaml", TEXT
    ):
        if not path.startswith("kubeflow/pipelines"):
            assert (ROOT / path).exists(), path


def test_its_config_is_one(tmp_path):
    kubeflow = load_config(CONFIG, (), [cluster_yaml(tmp_path)]).kubeflow
    (secret,) = kubeflow.secrets
    assert kubeflow.env["GOOGLE_APPLICATION_CREDENTIALS"].startswith(f"{secret.mount_path}/")


@pytest.mark.slow
def test_its_config_is_compiled_and_submitted(tmp_path, api: KfpApi):
    arguments = ["submit", "--config", str(CONFIG), "--overrides", str(cluster_yaml(tmp_path)), "--host", api.host]

    def submit(*more: str) -> str:
        program = "from pipeline.cli import main; main()"
        return forks.run([sys.executable, "-c", program, *arguments, *more], cwd=ROOT, check=True).stdout

    assert "run movielens_100k" in submit("--param", "epochs=1")
    assert "recurring run movielens_100k at 0 3 * * * set" in submit("--schedule", "0 3 * * *")
    assert [pipeline["display_name"] for pipeline in api.pipelines] == ["movielens_100k"]
    assert len(api.uploads) == 2, "the first version has KFP's name; the second time nothing is uploaded"
    assert api.runs[0]["runtime_config"]["parameters"] == {"epochs": 1}
    assert len(api.recurring_runs) == 1
