"""Pusher: blessings, versions and what they say of themselves, nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components import versions
from components.data_profile import DataProfile
from components.errors import InputError
from components.pusher.executor import Executor
from components.pusher.origin import ORIGIN, read_origin
from serving.promotion import Promoter
from tests.components.nodes import make_model


@pytest.fixture
def push(evaluation: Path, profile: Path) -> Callable[..., Any]:
    """Runs the executor; returns its output artifact."""

    def run(
        model_uri: Path,
        base: Path,
        model_blessed: int = 1,
        infra_blessed: int = 1,
        champion: str = "",
        accepted: str = "",
        judged: Path | None = None,
        **options: Any,
    ) -> Any:
        artifacts = {
            "model": standard_artifacts.Model(),
            "model_blessing": standard_artifacts.ModelBlessing(),
            "infra_blessing": standard_artifacts.InfraBlessing(),
            "evaluation": standard_artifacts.ModelEvaluation(),
            "champion": standard_artifacts.Model(),
            "examples": standard_artifacts.Examples(),
            "profile": DataProfile(),
        }
        if judged:
            artifacts["judged"] = standard_artifacts.Model()
            artifacts["judged"].uri = str(judged)
        for number, artifact in enumerate(artifacts.values(), 1):
            artifact.id = number
        artifacts["model"].uri, artifacts["evaluation"].uri = str(model_uri), str(evaluation)
        artifacts["profile"].uri = str(profile)
        artifacts["profile"].set_string_custom_property("accepted", accepted)
        artifacts["model_blessing"].set_int_custom_property("blessed", model_blessed)
        artifacts["infra_blessing"].set_int_custom_property("blessed", infra_blessed)
        artifacts["examples"].set_string_custom_property("summary", "4 rows read")
        if champion:
            artifacts["champion"].set_string_custom_property("version", champion)
        pushed = standard_artifacts.PushedModel()
        origin = json.dumps({"config": "abc", "code": "1.0 f00"})
        properties = {"base_path": str(base), "model_name": "m", "origin": origin, **options}
        Executor().Do({name: [a] for name, a in artifacts.items()}, {"pushed_model": [pushed]}, properties)
        return pushed

    return run


def test_a_blessed_model_becomes_the_newest_version(push: Any, model: Path, tmp_path: Path) -> None:
    pushed = push(model, tmp_path / "base")
    (version,) = versions.list_versions(tmp_path / "base" / "m")
    assert version.fingerprint == "new"
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("version") == str(version.number)
    assert pushed.get_string_custom_property("pushed_destination") == str(version.path)
    assert pushed.get_string_custom_property("reason") == f"version {version.number} is published"
    assert pushed.get_string_custom_property("summary") == f"version {version.number} is published · {version.path}"


@pytest.mark.parametrize(
    ("model_blessed", "infra_blessed", "who"),
    [(0, 1, "the Evaluator"), (1, 0, "the ServableValidator"), (0, 0, "the Evaluator and the ServableValidator")],
)
def test_without_both_blessings_nothing_is_pushed(
    push: Any, model: Path, tmp_path: Path, model_blessed: int, infra_blessed: int, who: str
) -> None:
    pushed = push(model, tmp_path / "base", model_blessed, infra_blessed)
    assert not (tmp_path / "base").exists()
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_string_custom_property("summary") == f"not pushed: not blessed by {who}"
    assert not pushed.has_custom_property("version")


def test_the_same_model_is_not_pushed_twice(push: Any, model: Path, tmp_path: Path) -> None:
    first = push(model, tmp_path / "base").get_string_custom_property("version")
    again = push(model, tmp_path / "base")
    assert again.get_int_custom_property("pushed") == 0
    assert again.get_string_custom_property("version") == first
    assert again.get_string_custom_property("summary") == f"nothing new: version {first} already serves this model"
    assert len(versions.list_versions(tmp_path / "base" / "m")) == 1


def test_a_model_that_served_before_another_one_is_pushed_again(push: Any, model: Path, tmp_path: Path) -> None:
    push(model, tmp_path / "base")
    push(make_model(tmp_path / "other", "other"), tmp_path / "base")
    push(model, tmp_path / "base")
    found = [version.fingerprint for version in versions.list_versions(tmp_path / "base" / "m")]
    assert found == ["new", "other", "new"]


def test_models_without_a_fingerprint_are_never_taken_for_the_same(push: Any, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "")
    push(model, tmp_path / "base")
    assert push(model, tmp_path / "base").get_int_custom_property("pushed") == 1


def test_a_base_path_that_can_not_be_written(push: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "base").write_text("a file")
    with pytest.raises(InputError, match=r"base/m: a new version can't be written"):
        push(model, tmp_path / "base")


def test_a_version_says_how_good_it_is_and_where_it_comes_from(push: Any, model: Path, tmp_path: Path) -> None:
    pushed = push(model, tmp_path / "base", champion="7", accepted="closed for a week")
    version = tmp_path / "base" / "m" / pushed.get_string_custom_property("version")
    about = versions.release(version)
    assert (version / "assets.extra" / "data_profile.json").read_text() == "what the data are like"
    assert not (version / ORIGIN).exists()
    assert about.pop("time").endswith("+00:00")
    assert about == {
        "fingerprint": "new",
        "blessed": True,
        "checks": ["hit@10 0.2500 is above popularity's 0.1250"],
        "metrics": {"hit_rate@10": 0.25, "count": 4.0},
        "baselines": {"popularity": {"hit_rate@10": 0.125, "count": 4.0}},
        "lineage": {
            "pipeline": "",
            "run": "",
            "config": "abc",
            "code": "1.0 f00",
            "data": "4 rows read",
            "accepted": "closed for a week",
            "parent": "7",
            "artifacts": {
                "champion": 5,
                "evaluation": 4,
                "examples": 6,
                "infra_blessing": 3,
                "model": 1,
                "model_blessing": 2,
                "profile": 7,
            },
        },
    }


def test_old_versions_go_but_none_that_is_promoted(push: Any, tmp_path: Path) -> None:
    base = tmp_path / "base"
    _, second, _ = (push(make_model(tmp_path / name, name), base) for name in "abc")
    Promoter(base, "m", []).promote(int(second.get_string_custom_property("version")), "stable")
    pushed = push(make_model(tmp_path / "d", "d"), base, retain=2)
    assert [version.fingerprint for version in versions.list_versions(base / "m")] == ["b", "c", "d"]
    assert pushed.get_string_custom_property("reason").endswith(" is published; 1 old removed")
    push(make_model(tmp_path / "e", "e"), base, retain=1)
    assert [version.fingerprint for version in versions.list_versions(base / "m")] == ["b", "e"]


def test_what_is_shipped_says_which_model_its_figures_are_of(push: Any, model: Path, tmp_path: Path) -> None:
    judged = make_model(tmp_path / "judged", "judged")
    push(model, tmp_path / "base", judged=judged)
    (version,) = versions.list_versions(tmp_path / "base" / "m")
    about = versions.release(version.path)
    assert (about["fingerprint"], about["judged"]) == ("new", "judged")
    assert about["lineage"]["artifacts"]["judged"] == 8
    assert versions.fingerprints(version) == {"new", "judged"}
    again = push(model, tmp_path / "base", judged=judged).get_string_custom_property("summary")
    assert again.startswith("nothing new: ")


def test_where_nothing_was_made_to_be_shipped_nothing_is_pushed(push: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    pushed = push(tmp_path / "nothing", tmp_path / "base", judged=model)
    assert pushed.get_int_custom_property("pushed") == 0
    assert "no model was trained on all events" in pushed.get_string_custom_property("summary")
    assert not (tmp_path / "base").exists()


def test_a_version_carries_what_it_was_made_by(push: Any, model: Path, profile: Path, tmp_path: Path) -> None:
    (profile / "files.json").write_text('{"interactions": [{"path": "log.csv", "bytes": 3, "digest": "ab"}]}')
    pushed = push(model, tmp_path / "base", record=json.dumps({"config": {"name": "m"}, "code": {}}))
    made = read_origin(tmp_path / "base" / "m" / pushed.get_string_custom_property("version"))
    assert (made["format"], made["config"], made["code"]) == (1, {"name": "m"}, {})
    assert made["files"]["interactions"][0]["path"] == "log.csv"
    assert {"tfx", "numpy"} <= made["surroundings"]["packages"].keys()
