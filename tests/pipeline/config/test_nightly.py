"""The nights' settings, as the config has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from components.errors import InputError
from pipeline.config import load_config
from pipeline.config.nightly import NightlySettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        "name: shop\ndata: {interactions: {path: log.csv}}\n"
        "nightly: {notify: ['mailtos://ann:${RECOMMENDER_PASSWORD}@host', '${SHOP_HOOK}']}\n"
    )
    return path


def test_a_variable_that_a_url_takes_is_no_mistake(file: Path) -> None:
    config = load_config(file, environ={"RECOMMENDER_PASSWORD": "x"})
    assert config.nightly.notify[1] == "${SHOP_HOOK}"
    with pytest.raises(InputError, match="RECOMMENDER_PASWORD: names no key"):
        load_config(file, environ={"RECOMMENDER_PASWORD": "x"})


@pytest.mark.parametrize(
    "wrong",
    ["release: latest", "notify: ['']", "notify_of: all", "trial: {hours: -1}", "trial: {share: 2}", "max_age_days: 0"],
)
def test_wrong_settings_are_refused(file: Path, wrong: str) -> None:
    file.write_text(f"name: shop\ndata: {{interactions: {{path: log.csv}}}}\nnightly: {{{wrong}}}\n")
    with pytest.raises(InputError, match=rf"nightly\.{wrong.partition(':')[0]}"):
        load_config(file)


def test_users_who_decide_are_logged() -> None:
    with pytest.raises(ValidationError, match=r"nightly\.trial\.outcome needs nightly\.answers"):
        NightlySettings.model_validate({"trial": {"outcome": "clicks"}})
    assert NightlySettings.model_validate({"trial": {"outcome": "clicks"}, "answers": ["log"]}).trial.alpha == 0.05


def test_the_defaults_try_what_was_pushed_the_same_night() -> None:
    settings = NightlySettings()
    assert (settings.release, settings.trial.hours, settings.notify) == ("canary", 0, ())
