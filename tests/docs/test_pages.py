"""What holds for all pages: commands, files and configs that they show are there."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml

from pipeline.config import load_config
from tests.docs.pages import PAGES, ROOT, blocks, commands, inline, read
from tests.pipeline.cli.command import check_command_line

LANGUAGES = {"csv", "dockerfile", "json", "mermaid", "python", "sh", "sql", "text", "yaml"}

YOURS = {"configs/my.yaml", "configs/NAME.yaml", "tests/X/test_y.py"}
"""Files that a reader makes."""

CALL = re.compile(r"(?:^|[(;|&] *)recommender ([^|;&>)#]+)")
"""A call of the program within a line."""


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    assert read(page).count("```") == 2 * len(blocks(page)), "a block that is not closed, or indented another way"
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES)
def test_paths_of_programs_are_the_same_everywhere(page: str) -> None:
    """The environment is activated, so its folder is not named."""
    typed = [*(command for block in blocks(page, "sh") for command in commands(block)), *inline(page)]
    assert [line for line in typed if ".venv/" in line] == [". .venv/bin/activate"] * (
        page in ("README.md", "docs/commands.md")
    )


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "sh")], ids=str)
def test_shell_is_shell(block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_that_are_shown_exist(page: str) -> None:
    shown = [command for block in blocks(page, "sh") for command in commands(block)] + [
        " ".join(code.split()) for code in inline(page)
    ]
    for text in shown:
        for call in CALL.findall(text):
            words = shlex.split(call)
            if words and not words[0].isupper():
                check_command_line(words)


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_files_that_are_named_exist(page: str) -> None:
    text = read(page)
    for module in re.findall(r"python -m ((?:benchmarks|components|kubeflow|pipeline|serving|tests)[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    rooms = "configs|tests|docs|serving|benchmarks|requirements|pipeline|components"
    for path in re.findall(rf"(?<![\w/.-])((?:{rooms})/[\w./-]*\w\.(?:py|yaml|md|txt|sh|config|json))\b", text):
        assert path in YOURS or (ROOT / path).exists(), path


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "yaml")], ids=str)
def test_configs_are_configs(block, tmp_path) -> None:
    """Those of other programs are at least YAML."""
    documents = list(yaml.safe_load_all(block.text))
    for content in documents:
        if content is None or "kind" in content or "services" in content:  # nothing, or for Kubernetes or Compose
            continue
        path = tmp_path / "shown.yaml"
        if {"name", "data"} <= content.keys():
            path.write_text(block.text)
            assert load_config(path).name == content["name"]
            continue
        below = {"secrets": "kubeflow", "catalogue": "data"}.get(next(iter(content)))
        path.write_text(yaml.safe_dump({below: content} if below else content))
        load_config(ROOT / "configs" / "movielens_100k.yaml", (), [path])


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page, "python")], ids=str)
def test_python_is_python(block) -> None:
    compile(block.text, str(block), "exec")
