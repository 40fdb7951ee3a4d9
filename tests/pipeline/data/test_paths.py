"""Where the data of a config are."""

import os

from pipeline.config import Config
from pipeline.data.paths import DataPaths, data_paths


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


def test_a_uri_of_a_file_on_disk_is_its_path():
    log = {"path": "file:///data/log.csv", "split": {"method": "files", "eval_path": "file:/data/eval.csv"}}
    catalogue = {"path": "file://localhost/data/items.csv", "item_id": "id"}
    config = Config.model_validate({"name": "shop", "data": {"interactions": log, "catalogue": catalogue}})
    found = data_paths(config)
    assert (found.interactions, found.evaluation) == ("/data/log.csv", "/data/eval.csv")
    assert found.catalogue == "/data/items.csv"


def test_the_own_folder_may_be_named_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    log = {"path": "~/log.csv", "split": {"method": "files", "eval_path": "~/eval.csv"}}
    config = Config.model_validate({"name": "shop", "data": {"interactions": log}})
    found = data_paths(config).absolute()
    assert (found.interactions, found.evaluation) == (f"{tmp_path}/log.csv", f"{tmp_path}/eval.csv")
