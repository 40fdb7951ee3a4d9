"""Where the data of a config are."""

import os

from pipeline.data.paths import DataPaths


def test_paths_for_processes_in_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = DataPaths(
        interactions="log-*.csv", users="", catalogue="gs://bucket/items.csv", evaluation="/data/eval.csv"
    )
    assert paths.absolute() == DataPaths(
        interactions=os.path.join(os.getcwd(), "log-*.csv"),
        users="",
        catalogue="gs://bucket/items.csv",
        evaluation="/data/eval.csv",
    )
