"""Options that commands share: which config they go by, and the rules of a request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.cli.options import ConfigSource, RuleOptions, UserRuleOptions
from tests.pipeline.cli.command import recommender


@pytest.mark.slow
@pytest.mark.smoke
def test_files_in_their_order_then_the_environment_then_set(shop: Path) -> None:
    (shop / "first.yaml").write_text("seed: 2\nmodel: {dim: 2, dropout: 0.2}\ntraining: {epochs: 2, batch_size: 2}\n")
    (shop / "second.yaml").write_text("seed: 3\nmodel: {dim: 3}\ntraining: {epochs: 3}\n")
    environ = {
        "RECOMMENDER_CONFIG": "shop.yaml",
        "RECOMMENDER_TRAINING__EPOCHS": "4",
        "RECOMMENDER_SEED": "4",
    }
    files = ("--overrides", "first.yaml", "--overrides", "second.yaml")
    ended = recommender("validate", "--json", *files, "--set", "seed=5", "--name", "six", cwd=shop, environ=environ)
    assert ended.returncode == 0, ended.stderr
    config = json.loads(ended.stdout)["config"]
    assert (config["model"]["dropout"], config["training"]["batch_size"]) == (0.2, 2)
    assert config["model"]["dim"] == 3
    assert config["training"]["epochs"] == 4
    assert config["seed"] == 5
    assert config["name"] == "six"

    environ["RECOMMENDER_OVERRIDES"] = "first.yaml:second.yaml"
    ended = recommender("validate", "--json", cwd=shop, environ=environ)
    assert json.loads(ended.stdout)["config"]["model"]["dim"] == 3
    ended = recommender("validate", "--json", "--overrides", "first.yaml", cwd=shop, environ=environ)
    assert json.loads(ended.stdout)["config"]["model"]["dim"] == 2, "what is typed takes the variable's place"


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("arguments", "prepared"),
    [
        (("serve",), "no version of shop to serve"),
        (("history", "--json"), ""),
        (("query", "--user", "a"), "no model server at 127.0.0.1:4"),
        (("similar", "--item", "a"), "no model server at 127.0.0.1:4"),
        (("audience", "--item", "a"), "no model server at 127.0.0.1:4"),
        (("canary", "share", "0.5"), "no such base path"),
        (("export", "--out", "a.tar.gz"), "no version; make one"),
        (("batch", "--out", "a.csv"), "no version; make one"),
    ],
)
def test_the_environment_reaches_every_command(shop: Path, arguments: tuple[str, ...], prepared: str) -> None:
    environ = {"RECOMMENDER_CONFIG": "shop.yaml", "RECOMMENDER_SERVING__PORT": "4"}
    ended = recommender(*arguments, cwd=shop, environ=environ)
    assert prepared in ended.stderr
    wrong = recommender(*arguments, cwd=shop, environ={**environ, "RECOMMENDER_SERVING__PROT": "4"})
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == (
        "error: RECOMMENDER_SERVING__PROT: names no key of the config; did you mean RECOMMENDER_SERVING__PORT?\n"
    )


@pytest.mark.parametrize(
    ("source", "given"),
    [
        (ConfigSource(), False),
        (ConfigSource(name="books"), False),  # with a target that is all that a client needs
        (ConfigSource(Path("shop.yaml")), True),
        (ConfigSource(overrides=[Path("best.yaml")]), True),
        (ConfigSource(changes=["seed=1"]), True),
    ],
)
def test_whether_a_config_is_asked_for(source: ConfigSource, given: bool) -> None:
    assert source.is_given is given


@pytest.mark.parametrize("name", ["no", "null", "On"])
def test_a_name_is_a_text_whatever_yaml_would_make_of_it(shop: Path, name: str) -> None:
    assert ConfigSource(shop / "shop.yaml", name=name).load().name == name


@pytest.mark.parametrize("name", ["1e5", "a: b", "~", ""])
def test_a_name_that_is_none_is_refused(shop: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"name: .*pattern"):
        ConfigSource(shop / "shop.yaml", name=name).load()


def test_a_name_counts_more_than_a_change(shop: Path) -> None:
    assert ConfigSource(shop / "shop.yaml", changes=["name=first"], name="second").load().name == "second"


def test_rules_are_the_clients_arguments() -> None:
    assert RuleOptions().rules() == {"allow": None, "filters": {}, "boosts": {}, "diversity": None}
    assert RuleOptions().excluded() == []
    rules = RuleOptions(
        exclude=["a,b", '"c,d"'],
        allow=["e", "f,g"],
        filters=["brand=x", "brand=y", "price<=20"],
        boost=["brand=x:0.5", "tag=a:b:-1"],
        diversity=0.0,
    )
    assert rules.excluded() == ["a", "b", "c,d"]
    assert rules.rules() == {
        "allow": ["e", "f", "g"],
        "filters": {"brand=": ["x", "y"], "price<=": ["20"]},
        "boosts": {"brand=x": 0.5, "tag=a:b": -1.0},
        "diversity": 0.0,
    }


def test_rules_of_users_are_the_clients_arguments() -> None:
    assert (UserRuleOptions().rules(), UserRuleOptions().excluded()) == ({"allow": None, "filters": {}}, [])
    rules = UserRuleOptions(exclude=["ann,bob"], allow=['"c,d"', "eve"], filters=["city=x", "age>=18"])
    assert rules.excluded() == ["ann", "bob"]
    assert rules.rules() == {"allow": ["c,d", "eve"], "filters": {"city=": ["x"], "age>=": ["18"]}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (UserRuleOptions(allow=['"a']), r"^--allow: "),
        (UserRuleOptions(filters=["city"]), r"^--filter 'city': "),
        (RuleOptions(allow=['"a']), r"^--allow: "),
        (RuleOptions(filters=["brand"]), r"^--filter 'brand': "),
        (RuleOptions(boost=["brand=x"]), r"^--boost 'brand=x': "),
    ],
)
def test_a_rule_that_is_none_is_named_by_its_option(options: RuleOptions | UserRuleOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        options.rules()


def test_an_item_to_leave_out_that_is_none_is_named_by_its_option() -> None:
    with pytest.raises(InputError, match=r"^--exclude: "):
        RuleOptions(exclude=['"a']).excluded()
