"""Variables of the environment that are no keys of the config."""

from __future__ import annotations

import pytest

from pipeline.variables import datasets_folder, formerly_datasets, outdated


@pytest.mark.parametrize(
    ("environ", "folder", "told"),
    [
        ({}, "", ""),
        ({"RECOMMENDER_DATASETS": "/new"}, "/new", ""),
        ({"RECOMMENDER_CACHE": "/old"}, "/old", "RECOMMENDER_CACHE is now RECOMMENDER_DATASETS"),
        (
            {"RECOMMENDER_DATASETS": "/new", "RECOMMENDER_CACHE": "/old"},
            "/new",
            "RECOMMENDER_CACHE is now RECOMMENDER_DATASETS",
        ),
        (
            {"RECOMMENDER_DATASETS": "", "RECOMMENDER_CACHE": "/old"},
            "/old",
            "RECOMMENDER_CACHE is now RECOMMENDER_DATASETS",
        ),
        ({"RECOMMENDER_DATASETS": "/new", "RECOMMENDER_CACHE": "false"}, "/new", ""),
    ],
)
def test_the_folder_of_the_data_sets_by_its_name_and_its_former_one(
    environ: dict[str, str], folder: str, told: str
) -> None:
    assert datasets_folder(environ) == folder
    assert outdated(environ) == told


@pytest.mark.parametrize("value", ["true", "False", "YES", "no", "on", "Off", "0", "1", ""])
def test_a_truth_value_is_the_configs_key_of_that_name(value: str) -> None:
    assert formerly_datasets({"RECOMMENDER_CACHE": value}) == ""


@pytest.mark.parametrize("value", ["10", "true/", "/srv/on", "./1"])
def test_what_only_looks_like_a_truth_value_is_a_folder(value: str) -> None:
    assert formerly_datasets({"RECOMMENDER_CACHE": value}) == value
