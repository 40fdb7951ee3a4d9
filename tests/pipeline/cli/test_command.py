"""What holds for every command: a walk over all that there are."""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from pipeline.failures import EXIT_CODES
from tests.pipeline.cli.command import check_command_line, commands, options, recommender

ROOT = Path(__file__).parents[3]
COMMANDS = commands()

# What has other words in one command than in another, and why.
OWN = {
    "--out": "what is written: a page, a folder, an archive",
    "-o": "the same",
    "--label": "promote and rollback take the two that they can move, the others ask for any",
    "--version": "a folder stands for a version only where the model is loaded from it",
    "--format": "vectors are written as other kinds of files than lists are",
    "--host": "where serve listens is as little a URL as Kubeflow's API is an address",
    "--allow": "an audience is one of users, which have rules of their own",
    "--exclude": "the same",
    "--filter": "the same",
    "--user": "query's may be nobody, demo's one of training's, init's is a column",
    "--item": "init's is a column",
    "--check": "that of vectors asks a search, that of reproduce what differs",
    "--users": "those of batch are asked for, those of init are a table",
}


def test_these_are_all_there_are() -> None:
    assert list(COMMANDS) == [
        *("run", "reindex", "init", "validate", "tune", "demo", "doctor"),
        *("evaluate", "report", "compare"),
        *("serve", "query", "similar", "audience", "batch", "vectors", "export", "shard", "feedback"),
        *("versions", "history", "promote", "rollback", "retire"),
        *("nightly", "status"),
        *("gc", "reproduce", "forget"),
        *("compile", "submit", "trigger"),
        *("canary start", "canary share", "canary stop", "canary compare"),
    ]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "init"])
def test_every_command_but_the_one_that_makes_it_goes_by_a_config_and_what_is_laid_over_it(name: str) -> None:
    there = options(COMMANDS[name])
    assert {"--config", "-c", "--overrides", "--set", "--name"} <= set(there)
    assert (there["--config"].envvar, there["--overrides"].envvar) == ("RECOMMENDER_CONFIG", "RECOMMENDER_OVERRIDES")
    assert there["--config"].default is None
    assert [there[option].type_descriptor.is_list for option in ("--overrides", "--set")] == [True, True]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_does_not_become_another_program_has_json(name: str) -> None:
    assert ("--json" in options(COMMANDS[name])) == (name != "serve")


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_which_it_understands(name: str) -> None:
    head, *examples = COMMANDS[name].epilog.split("\n")
    assert head == ("Example:" if len(examples) == 1 else "Examples:")
    assert examples[0].startswith(f"  recommender {name} ") or examples[0] == f"  recommender {name}"
    for example in examples:
        check_command_line(shlex.split(example)[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_words(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name
        assert parameter.help[0].isupper() or parameter.help.startswith(("stable:", "csv,", "wide:", "gRPC")), (
            parameter.help
        )
        assert parameter.help.endswith("."), parameter.help
        assert Text.from_markup(parameter.help).plain == parameter.help, "a terminal and a pipe would show other words"


def test_an_option_means_the_same_everywhere() -> None:
    words: dict[str, set[Any]] = defaultdict(set)
    for command in COMMANDS.values():
        for option, parameter in options(command).items():
            words[option].add((parameter.help, parameter.metavar, str(parameter.type_descriptor.annotation)))
    assert {option for option, found in words.items() if len(found) > 1} == set(OWN)


def test_the_name_is_the_models_and_the_version_the_versions() -> None:
    for name, command in COMMANDS.items():
        assert "--model" not in options(command), name
        version = options(command).get("--version")
        assert version is None or version.metavar in ("VERSION", "VERSION|DIR", "VERSION|DIR|URI"), name
        for parameter in command.params:
            assert parameter.metavar != "VERSION" or parameter.name == "version", name


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_renamed_is_still_understood(name: str) -> None:
    command = COMMANDS[name]
    for old, new in command.formerly.items():
        assert old not in options(command)
        assert new in options(command)
    assert ("--model" in command.formerly) == (
        name not in ("run", "reindex", "init", "validate", "tune", "demo", "doctor", "report", "compare", "export")
        and name not in ("vectors", "feedback", "audience", "gc", "reproduce", "forget", "compile", "submit", "trigger")
        and name not in ("nightly", "status", "shard")
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_plain_where_it_is_piped(option: str) -> None:
    ended = recommender("canary", "compare", option)
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert ended.stdout.startswith("Usage: recommender canary compare [OPTIONS]\n")
    assert "Examples:\n  recommender canary compare --max-p99-ratio 1.5 --auto\n" in ended.stdout
    assert not set("╭╮│─━") & set(ended.stdout)


def test_the_list_of_commands_and_the_exit_codes() -> None:
    ended = recommender("--help")
    assert ended.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name.split()[0]} " in ended.stdout
    assert "…" not in ended.stdout
    assert "..." not in ended.stdout.replace("[ARGS]...", "")
    listed = "".join(f"  {code}  {meaning}\n" for code, meaning in EXIT_CODES.items())
    assert ended.stdout.endswith(f"Exit codes:\n{listed}")


def test_the_docs_have_the_exit_codes() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in page
