"""Requests held against training, of distributions whose distance is known."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl

from components.data_profile import IN_VERSION
from components.guards import profile as profiles
from components.guards.profile import Profile
from components.guards.settings import GuardSettings
from pipeline.feedback import skew
from pipeline.feedback.skew import Sample, Skew, find_profile, skews


def trained() -> Profile:
    columns = {
        "device": pa.array([["ios"]] * 50 + [["web"]] * 50, pa.list_(pa.string())),
        "age": pa.array([[float(n)] for n in range(100)], pa.list_(pa.float32())),
        "history": pa.array([["a"], ["b"]] * 50, pa.list_(pa.string())),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    statistics = stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())
    return Profile(None, 0, None, {"": profiles.compared(statistics)})


def lists(contexts: list[dict], histories: list[list[str]]) -> pa.Table:
    columns = [[f"{n}" for n in range(len(contexts))], list(map(json.dumps, contexts)), histories]
    types = (pa.string(), pa.string(), pa.list_(pa.string()))
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types)]
    return pa.table(arrays, names=["request", "context", "history"])


def test_distances_by_hand() -> None:
    contexts: list[dict] = [{"device": "ios", "age": n} for n in range(80)] + [{"device": ["web"]} for _ in range(20)]
    histories = [["a"]] * 60 + [[]] * 40
    found = {
        one.feature: one
        for one in skews(lists(contexts, histories), trained(), ["device", "age", "colour"], GuardSettings())
    }
    # 80 % ios where it was 50 %; no ages for a fifth; all histories begin with "a" where half did.
    assert found["device"] == Skew("device", 0.0, 0.0, "L-infinity", pytest.approx(0.3), 0.3)
    assert (found["age"].missing, found["age"].trained_missing, found["age"].measure) == (0.2, 0.0, "Jensen-Shannon")
    assert 0 < found["age"].value < 0.2
    assert found["history"] == Skew("history", pytest.approx(0.4), 0.0, "L-infinity", pytest.approx(0.5), 0.3)
    assert list(found) == ["device", "age", "history"]


def test_what_requests_never_say() -> None:
    found = skews(lists([{"age": "old"}] * 30, [[]] * 30), trained(), ["age"], GuardSettings())
    assert found == [Skew("age", 1.0, 0.0)]
    assert skews(lists([{}], [[]]), Profile(None, 0, None, {}), ["age"], GuardSettings()) == []


def test_a_sample_is_the_same_whatever_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skew, "_MOST", 5)
    table = lists([{"n": n} for n in range(40)], [[]] * 40)
    whole, apart = Sample(), Sample()
    whole.add(table)
    for start in range(0, 40, 7):
        apart.add(table.slice(start, 7))
    assert whole.lists is not None
    assert apart.lists is not None
    assert len(whole.lists) == 5
    assert set(whole.lists["request"].to_pylist()) == set(apart.lists["request"].to_pylist())


def test_the_first_version_that_has_a_profile(tmp_path: Path) -> None:
    assert find_profile([tmp_path / "1"]) is None
    path = tmp_path / "2" / IN_VERSION
    path.parent.mkdir(parents=True)
    path.write_text(profiles.to_json(trained()))
    found = find_profile([tmp_path / "1", tmp_path / "2"])
    assert found is not None
    assert found[0] == tmp_path / "2"
    assert found[1].missing() == {"device": 0.0, "age": 0.0, "history": 0.0}
