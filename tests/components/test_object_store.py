"""Versions in an object store: a store in memory, through Beam, as gs:// and s3:// are."""

import json
import re

import pytest
from tfx.types import standard_artifacts

from components import object_store, versions
from components.champion import executor as champion
from components.errors import InputError
from components.evaluation_report import Report, save_report
from components.pusher import executor as pusher
from tests.components.memory_store import Store
from tests.components.nodes import make_model

BASE = "mem://bucket/models/films"


@pytest.fixture
def store(monkeypatch):
    for name, value in (("objects", {}), ("order", []), ("full", ""), ("down", False)):
        monkeypatch.setattr(Store, name, value)
    monkeypatch.setattr(versions, "_now", lambda: 20260102030405)
    return Store


@pytest.fixture
def servable(tmp_path):
    return make(tmp_path / "servable", "a1")


def make(folder, fingerprint):
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"weights")
    (folder / "assets.extra/recommender.json").write_text(json.dumps({"fingerprint": fingerprint}))
    return folder


def test_saved_model_comes_last(store, servable):
    version = object_store.publish(servable, BASE, {"blessed": True})
    assert version == object_store.Version(20260102030405, f"{BASE}/20260102030405", "a1")
    names = [path.removeprefix(f"{version.path}/") for path in store.order]
    assert names[-1] == "saved_model.pb"
    assert sorted(names) == [
        "assets.extra/recommender.json",
        "assets.extra/release.json",
        "saved_model.pb",
        "variables/variables.index",
    ]
    assert json.loads(store.objects[f"{version.path}/assets.extra/release.json"]) == {"blessed": True}


def test_the_newest_is_the_highest_number_with_a_saved_model(store, servable, tmp_path):
    assert object_store.newest(BASE) is None
    for _ in range(2):
        object_store.publish(servable, BASE, {})
    other = object_store.publish(make(tmp_path / "other", "b2"), BASE, {})
    store.objects[f"{BASE}/99999999999999/variables/variables.index"] = b"unfinished"
    store.objects[f"{BASE}/latest/saved_model.pb"] = b"no number"
    store.objects[f"{BASE}/"] = b""  # what some tools write for a folder
    assert object_store.newest(BASE) == other
    assert other.number == 20260102030407
    found = object_store.newest(BASE, other_than="b2")
    assert (found.number, found.fingerprint) == (20260102030406, "a1")
    assert object_store.newest("mem://bucket/models/film") is None


def test_what_comes_back_is_what_was_published(store, servable, tmp_path):
    version = object_store.publish(servable, BASE, {})
    store.objects[f"{version.path}/variables/"] = b""
    object_store.download(version, tmp_path / "copy")
    for path in servable.rglob("*"):
        if path.is_file():
            assert (tmp_path / "copy" / path.relative_to(servable)).read_bytes() == path.read_bytes()
    store.objects.clear()
    with pytest.raises(InputError, match="this version was removed while it was read"):
        object_store.download(version, tmp_path / "gone")


@pytest.mark.parametrize("full", ["saved_model.pb", "variables.index", "release.json"])
def test_nothing_is_left_of_a_version_that_could_not_be_written(store, servable, full):
    store.full = full
    with pytest.raises(InputError, match=re.escape(BASE) + ".*quota exceeded"):
        object_store.publish(servable, BASE, {})
    assert store.objects == {}


def test_errors_name_the_place(store, servable, tmp_path):
    with pytest.raises(InputError, match="no SavedModel to publish"):
        object_store.publish(tmp_path, BASE, {})
    store.down = True
    with pytest.raises(InputError, match=r"mem://bucket/models/films: .*no route to the store"):
        object_store.newest(BASE)
    with pytest.raises(InputError, match=r"nothing://b/x: .*nothing"):
        object_store.newest("nothing://b/x")


def test_a_damaged_description(store, servable):
    (servable / "assets.extra/recommender.json").write_text("{")
    with pytest.raises(InputError, match=r"recommender\.json: damaged"):
        object_store.publish(servable, BASE, {})


def artifact(kind, uri="", **properties):
    made = kind()
    made.uri = str(uri)
    for name, value in properties.items():
        (made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property)(name, value)
    return [made]


def test_pusher_and_champion(store, tmp_path):
    metrics = {"candidate": {"overall": {"hit_rate@10": 0.25}}}
    save_report(Report(metrics, (), True, "hit_rate@10", {}, True, 1, 1), str(tmp_path))
    base = {"base_path": "mem://bucket/models/", "model_name": "films"}

    def push(model):
        inputs = {
            "model": artifact(standard_artifacts.Model, model),
            "model_blessing": artifact(standard_artifacts.ModelBlessing, blessed=1),
            "infra_blessing": artifact(standard_artifacts.InfraBlessing, blessed=1),
            "evaluation": artifact(standard_artifacts.ModelEvaluation, tmp_path),
            "champion": artifact(standard_artifacts.Model),
            "examples": artifact(standard_artifacts.Examples),
        }
        [pushed] = artifact(standard_artifacts.PushedModel)
        pusher.Executor().Do(inputs, {"pushed_model": [pushed]}, {**base, "origin": "{}"})
        return pushed

    old, new = make_model(tmp_path / "old", "old"), make_model(tmp_path / "new", "new")
    pushed = push(old)
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == f"{BASE}/20260102030405"
    assert push(old).get_string_custom_property("reason").startswith("nothing new: ")

    for driven in ({}, {"champion_version": "20260102030405", "champion_fingerprint": "old"}):
        output = tmp_path / f"champion{len(driven)}"
        [found] = artifact(standard_artifacts.Model, output)
        inputs = {"model": artifact(standard_artifacts.Model, new)}
        champion.Executor().Do(inputs, {"champion": [found]}, {**base, **driven})
        assert found.get_string_custom_property("fingerprint") == "old"
        assert (output / "Format-Serving/saved_model.pb").read_bytes() == b"graph of old"
