"""Promoter: what was pushed gets the label, if that is approved; and what it says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components import versions
from components.errors import InputError
from components.promoter.component import Promotion
from components.promoter.executor import Executor
from serving.promotion import files
from tests.components.nodes import make_model


@pytest.fixture
def version(tmp_path: Path) -> versions.Version:
    """A version on disk, without any server."""
    return versions.publish(make_model(tmp_path / "model", "a") / "Format-Serving", tmp_path / "base" / "m")


def run(base: Path | str, version: versions.Version | None, approved: str = "true", label: str = "stable") -> Any:
    pushed, promotion = standard_artifacts.PushedModel(), Promotion()
    pushed.set_string_custom_property("reason", "not pushed: not blessed by the Evaluator")
    if version:
        pushed.set_string_custom_property("version", str(version.number))
    properties = {"base_path": str(base), "model_name": "m", "label": label, "approved": approved, "replicas": "[]"}
    Executor().Do({"pushed_model": [pushed]}, {"promotion": [promotion]}, properties)
    return promotion


def test_an_approved_version_gets_the_label_once(version: versions.Version, tmp_path: Path) -> None:
    base = tmp_path / "base"
    promotion = run(base, version, "True")
    assert promotion.get_int_custom_property("promoted") == 1
    assert promotion.get_string_custom_property("version") == str(version.number)
    assert promotion.get_string_custom_property("summary") == f"version {version.number} has now the label stable"
    assert files.stable_version(base, "m") == version.number
    [entry] = files.read_audit(base)
    assert entry.who == "the pipeline"

    again = run(base, version)
    assert again.get_int_custom_property("promoted") == 0
    assert again.get_string_custom_property("summary") == f"version {version.number} had already the label stable"
    assert len(files.read_audit(base)) == 1


def test_without_approval_nothing_is_changed(version: versions.Version, tmp_path: Path) -> None:
    promotion = run(tmp_path / "base", version, "false")
    assert promotion.get_int_custom_property("promoted") == 0
    assert promotion.get_string_custom_property("summary") == (
        f"version {version.number} is not promoted to stable: promote_approved is false"
    )
    assert files.read_config(tmp_path / "base") is None


def test_what_was_not_pushed_is_not_promoted(tmp_path: Path) -> None:
    assert run(tmp_path, None).get_string_custom_property("summary") == (
        "nothing to promote: not pushed: not blessed by the Evaluator"
    )


@pytest.mark.parametrize(
    ("approved", "label", "base", "message"),
    [
        ("maybe", "stable", "", "promote_approved 'maybe': it is true or false"),
        ("true", "best", "", "label 'best': it is stable or canary"),
        ("true", "canary", "", "m has no stable version"),
        ("true", "stable", "hdfs://models", "hdfs://models: .*must be a local or mounted directory"),
    ],
)
def test_wrong_parameters(
    version: versions.Version, tmp_path: Path, approved: str, label: str, base: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(base or tmp_path / "base", version, approved, label)
