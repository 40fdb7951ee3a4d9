"""Life of versions: what the policy wants and can be loaded serves; nothing takes it down but something better."""

from __future__ import annotations

import logging
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server import versions
from serving.server.status import StatusError
from serving.server.versions import VersionManager
from tests.serving.fake_models import FakeModel, Later, model, put, remove, server_config


class Driven:
    """A manager whose loads and unloads happen when the test says so."""

    def __init__(self, base, policy="", **options):
        self.later = Later()
        self.base = base
        self.lock = threading.Lock()
        pools = {"loaders": self.later, "unloaders": self.later}
        self.manager = VersionManager("m", FakeModel, lock=self.lock, on_change=lambda: None, **pools, **options)
        self.configure(policy)

    def configure(self, policy, base=None, **labelled):
        config = server_config(model("m", base or self.base, policy, **labelled)).model_config_list.config[0]
        with self.lock:
            self.manager.configure(config)

    def end(self):
        with self.lock:
            self.manager.configure(None)

    def poll(self):
        self.manager.poll()
        self.later.run()

    def serving(self):
        return sorted(state.version for state in self.manager.states() if state.state == "AVAILABLE")

    def states(self):
        return {state.version: state.state for state in self.manager.states()}


@pytest.fixture
def driven(tmp_path):
    return Driven(tmp_path)


def test_the_newest_serves(driven, tmp_path):
    for name in ("2", "10", "9"):
        put(tmp_path, name)
    driven.poll()
    assert driven.states() == {10: "AVAILABLE"}
    with driven.manager.acquire() as (version, loaded):
        assert (version, loaded.path) == (10, str(tmp_path / "10"))


def test_what_is_no_version_is_ignored(driven, tmp_path):
    for name in ("tmp", "-1", "1.5", "²", ".publish-3", "99999999999999999999"):
        put(tmp_path, name)
    (tmp_path / "5").write_text("a file")
    driven.poll()
    assert driven.manager.current_version is None
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(m\)"), driven.manager.acquire():
        pass
    put(tmp_path, "007")
    driven.poll()
    assert driven.manager.current_version == 7


@pytest.mark.parametrize(
    ("policy", "serving"),
    [
        ("", [5]),
        ("latest {}", [5]),
        ("latest { num_versions: 3 }", [3, 4, 5]),
        ("latest { num_versions: 30 }", [1, 2, 3, 4, 5]),
        ("all {}", [1, 2, 3, 4, 5]),
        ("specific { versions: 2 versions: 4 versions: 9 }", [2, 4]),
        ("specific {}", []),
    ],
)
def test_policies(tmp_path, policy, serving):
    for number in range(1, 6):
        put(tmp_path, number)
    driven = Driven(tmp_path, policy)
    driven.poll()
    assert driven.serving() == serving


def test_a_version_that_is_asked_for_but_not_there_is_told_once(tmp_path, caplog):
    put(tmp_path, 1)
    driven = Driven(tmp_path, "specific { versions: 1 versions: 9 }")
    driven.poll()
    driven.poll()
    assert [record.getMessage() for record in caplog.records] == [
        f"model m: version 9 is asked for but isn't in {tmp_path}"
    ]


def test_a_newer_version_replaces_the_older(driven, tmp_path):
    put(tmp_path, 1)
    driven.poll()
    with driven.manager.acquire() as (_, old):
        pass
    put(tmp_path, 2)
    driven.poll()
    assert old.closed
    assert driven.states() == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(StatusError, match=r"Specific\(m, 1\)"), driven.manager.acquire(1):
        pass
    with driven.manager.acquire(2) as (version, _):
        assert version == 2


def test_the_older_serves_until_the_newer_is_loaded(driven, tmp_path):
    put(tmp_path, 1)
    driven.poll()
    put(tmp_path, 2)
    driven.manager.poll()
    assert driven.states() == {1: "AVAILABLE", 2: "START"}
    assert driven.manager.current_version == 1
    driven.later.run()
    assert driven.states() == {1: "END", 2: "AVAILABLE"}


def test_all_that_is_wanted_is_loaded_before_anything_goes(tmp_path):
    for number in (1, 2):
        put(tmp_path, number)
    driven = Driven(tmp_path, "latest { num_versions: 2 }")
    driven.poll()
    for number in (3, 4):
        put(tmp_path, number)
    driven.manager.poll()
    driven.later.jobs.pop(0)()
    assert driven.serving() == [1, 2, 4]
    driven.later.run()
    assert driven.serving() == [3, 4]


def test_requests_finish_on_the_version_they_began_on(driven, tmp_path):
    put(tmp_path, 1)
    driven.poll()
    with driven.manager.acquire() as (_, old):
        put(tmp_path, 2)
        driven.poll()
        assert not old.closed
        assert driven.states() == {2: "AVAILABLE", 1: "UNLOADING"}
        with driven.manager.acquire() as (version, _):
            assert version == 2
    driven.later.run()
    assert old.closed
    assert driven.states() == {2: "AVAILABLE", 1: "END"}


def test_a_version_that_is_loaded_again_while_the_old_one_drains(tmp_path):
    for number in (1, 2):
        put(tmp_path, number)
    driven = Driven(tmp_path, "specific { versions: 2 }")
    driven.poll()
    with driven.manager.acquire() as (_, first):
        driven.configure("specific { versions: 1 }")
        driven.poll()
        driven.configure("specific { versions: 2 }")
        driven.poll()
        assert driven.states() == {2: "AVAILABLE", 1: "END"}
        with driven.manager.acquire() as (_, second):
            assert second is not first
    driven.later.run()
    assert (first.closed, second.closed) == (True, False)
    assert driven.states() == {2: "AVAILABLE", 1: "END"}


def test_a_model_that_fails_to_close_is_over_all_the_same(driven, tmp_path, caplog):
    put(tmp_path, 1)
    driven.poll()
    with driven.manager.acquire() as (_, old):
        old.close = lambda: 1 / 0
    put(tmp_path, 2)
    driven.poll()
    assert driven.states() == {2: "AVAILABLE", 1: "END"}
    assert "closing version 1 failed" in caplog.text


def test_a_corrupt_version_is_logged_once_and_never_takes_the_older_down(driven, tmp_path, caplog):
    put(tmp_path, 1)
    driven.poll()
    put(tmp_path, 2, "garbage")
    with caplog.at_level(logging.ERROR, "serving.server"):
        for _ in range(3):
            driven.poll()
    assert driven.manager.current_version == 1
    assert len(caplog.records) == 1
    assert "version 2" in caplog.text
    assert "version 1 goes on serving" in caplog.text
    newest = driven.manager.states()[0]
    assert (newest.version, newest.state, newest.code.name, newest.message) == (
        2,
        "LOADING",  # until it isn't tried again any more
        "UNKNOWN",
        "bad model: garbage",
    )


@pytest.mark.parametrize("policy", ["specific { versions: 2 }", "all {}", "latest { num_versions: 2 }"])
def test_no_policy_lets_a_corrupt_version_take_another_down(tmp_path, policy):
    put(tmp_path, 1)
    driven = Driven(tmp_path)
    driven.poll()
    put(tmp_path, 2, "garbage")
    driven.configure(policy)
    driven.poll()
    assert driven.serving() == [1]


def test_a_half_copied_version_serves_once_it_is_whole(driven, tmp_path, caplog):
    put(tmp_path, 1)
    (tmp_path / "2").mkdir()
    with caplog.at_level(logging.ERROR, "serving.server"):
        driven.poll()
        assert driven.manager.current_version == 1
        (tmp_path / "2" / "model").write_text("half", encoding="utf-8")
        driven.poll()
        assert driven.manager.current_version == 1
        (tmp_path / "2" / "model").write_text("ok", encoding="utf-8")
        driven.poll()
    assert driven.manager.current_version == 2
    assert len(caplog.records) == 1


def test_a_failed_load_is_tried_again_as_often_as_it_should(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(versions.time, "monotonic", lambda: now[0])
    tried = []
    driven = Driven(tmp_path, max_retries=2, retry_seconds=60)
    driven.manager._load = lambda path: tried.append(now[0]) or FakeModel(path)
    put(tmp_path, 1, "garbage")
    for second in range(100, 400, 10):
        now[0] = float(second)
        driven.manager.tick() if second > 100 else driven.poll()
        driven.later.run()
        assert driven.states() == {1: "LOADING" if second < 220 else "END"}
    assert tried == [100, 160, 220]
    assert driven.manager.due == float("inf")
    (tmp_path / "1" / "model").write_text("ok", encoding="utf-8")
    driven.poll()
    assert driven.manager.current_version == 1


@pytest.mark.parametrize("how", ["another config", "gone from the disk", "a newer one", "the end"])
def test_what_is_not_tried_again_has_ended(tmp_path, how):
    driven = Driven(tmp_path)
    put(tmp_path, 1, "garbage")
    driven.poll()
    assert driven.states() == {1: "LOADING"}
    if how == "another config":
        driven.configure("specific { versions: 2 }")
    elif how == "gone from the disk":
        remove(tmp_path, 1)
    elif how == "a newer one":
        put(tmp_path, 2)
    else:
        driven.end()
    driven.poll()
    assert driven.states()[1] == "END"
    assert [state.message for state in driven.manager.states() if state.version == 1] == ["bad model: garbage"]


def test_another_config_tries_what_failed_again(tmp_path):
    tried = []
    driven = Driven(tmp_path)
    driven.manager._load = lambda path: tried.append(path) or FakeModel(path)
    put(tmp_path, 1, "garbage")
    for policy in ("", "", "all {}"):
        driven.configure(policy)
        driven.poll()
    assert len(tried) == 2


def test_no_time_between_retries(tmp_path):
    tried = []
    driven = Driven(tmp_path, max_retries=3, retry_seconds=-1)
    driven.manager._load = lambda path: tried.append(path) or FakeModel(path)
    put(tmp_path, 1, "garbage")
    driven.poll()
    assert len(tried) == 4


def test_the_next_older_serves_when_the_newest_is_corrupt_from_the_start(driven, tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2, "garbage")
    driven.poll()
    assert driven.manager.current_version == 1


def test_removing_the_newest_goes_back(driven, tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2)
    driven.poll()
    remove(tmp_path, 2)
    driven.poll()
    assert driven.serving() == [1]


@pytest.mark.parametrize("policy", ["latest {}", "all {}", "specific { versions: 1 }"])
def test_the_last_version_goes_on_serving_when_its_folder_is_gone(tmp_path, policy):
    put(tmp_path, 1)
    driven = Driven(tmp_path, policy)
    driven.poll()
    remove(tmp_path, 1)
    driven.poll()
    tmp_path.rmdir()
    driven.poll()
    assert driven.serving() == [1]


def test_a_removed_folder_ends_its_version_where_another_is_wanted(tmp_path):
    for number in (1, 2):
        put(tmp_path, number)
    driven = Driven(tmp_path, "specific { versions: 1 versions: 2 }")
    driven.poll()
    remove(tmp_path, 2)
    driven.poll()
    assert driven.serving() == [1]


def test_failed_versions_are_forgotten_when_removed(driven, tmp_path):
    put(tmp_path, 3, "garbage")
    driven.poll()
    remove(tmp_path, 3)
    driven.poll()
    put(tmp_path, 3)
    driven.poll()
    assert driven.manager.current_version == 3


def test_another_base_path_keeps_what_is_loaded(driven, tmp_path):
    put(tmp_path / "a", 1)
    put(tmp_path / "b", 1)
    put(tmp_path / "b", 2)
    driven.configure("", tmp_path / "a")
    driven.poll()
    with driven.manager.acquire() as (_, old):
        pass
    driven.configure("", tmp_path / "b")
    assert driven.serving() == [1]
    driven.poll()
    assert driven.serving() == [2]
    assert old.closed


def test_a_load_that_is_not_wanted_any_more_does_not_begin(tmp_path):
    for number in (1, 2):
        put(tmp_path, number)
    driven = Driven(tmp_path, "specific { versions: 2 }")
    driven.manager.poll()
    driven.configure("specific { versions: 1 }")
    driven.poll()
    assert driven.states() == {1: "AVAILABLE"}


def test_an_ended_model_answers_nothing_and_can_come_back(driven, tmp_path):
    put(tmp_path, 1)
    driven.poll()
    with driven.manager.acquire() as (_, old):
        driven.end()
        with pytest.raises(StatusError, match=r"Latest\(m\)"), driven.manager.acquire():
            pass
    driven.later.run()
    assert old.closed
    assert driven.states() == {1: "END"}
    driven.poll()
    assert driven.serving() == []
    driven.configure("")
    driven.poll()
    assert driven.serving() == [1]


def test_a_model_that_ends_while_it_loads_never_serves(driven, tmp_path):
    put(tmp_path, 1)
    closed = []

    def load(path):
        driven.end()
        loaded = FakeModel(path)
        loaded.close = lambda: closed.append(path)
        return loaded

    driven.manager._load = load
    driven.poll()
    assert driven.states() == {1: "END"}
    assert closed == [str(tmp_path / "1")]


def test_labels(driven, tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2)
    driven.configure("all {}", stable=1, canary=2, gone=3)
    driven.poll()
    for label, version in {"stable": 1, "canary": 2}.items():
        with driven.manager.acquire(label=label) as (lent, _):
            assert lent == version
    with pytest.raises(StatusError, match=r"Servable not found for request: Specific\(m, 3\)"):
        driven.manager.acquire(label="gone").__enter__()
    with pytest.raises(StatusError, match="Unrecognized servable version label: nope") as caught:
        driven.manager.acquire(label="nope").__enter__()
    assert caught.value.code.name == "INVALID_ARGUMENT"


@pytest.mark.slow
@pytest.mark.smoke
def test_remembers_only_so_many_ends(driven, tmp_path):
    for number in range(1, 60):
        put(tmp_path, number)
        driven.poll()
    assert driven.manager.current_version == 59
    assert len(driven.manager.states()) == 51


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "break", "mend", "remove", "poll", "work", "policy"]),
        st.integers(1, 4),
        st.sampled_from(["", "latest { num_versions: 2 }", "all {}", "specific { versions: 1 versions: 3 }"]),
    ),
    max_size=25,
)


@pytest.mark.slow
@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_whatever_happens_something_serves_once_it_did(tmp_path_factory, steps):
    base = tmp_path_factory.mktemp("base")
    driven = Driven(base)
    policy, served = "", False
    for step, number, other in steps:
        present = (base / str(number)).exists()
        if step in ("put", "break") and not present and number not in driven.serving():
            put(base, number, "ok" if step == "put" else "garbage")
        elif step == "mend" and present:
            (base / str(number) / "model").write_text("ok", encoding="utf-8")
        elif step == "remove" and present:
            remove(base, number)
        elif step == "poll":
            driven.manager.poll()
        elif step == "work" and driven.later.jobs:
            driven.later.jobs.pop(0)()
        elif step == "policy":
            policy = other
            driven.configure(policy)
        assert driven.serving() or not served
        served = bool(driven.serving())
    driven.poll()
    driven.poll()
    good = {n for n in range(1, 5) if (base / str(n) / "model").exists()}
    good = {n for n in good if (base / str(n) / "model").read_text(encoding="utf-8") == "ok"}
    wanted = {
        "": sorted(good)[-1:],
        "latest { num_versions: 2 }": sorted(good)[-2:],
        "all {}": sorted(good),
        "specific { versions: 1 versions: 3 }": sorted(good & {1, 3}),
    }[policy]
    if wanted:
        assert driven.serving() == wanted


def test_what_is_loaded_how_old_it_is_and_where_labels_point(driven, tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2)
    (tmp_path / "2" / "saved_model.pb").write_text("")
    os.utime(tmp_path / "2" / "saved_model.pb", (5.0, 7.0))
    assert driven.manager.labels() == {}
    driven.configure("all {}", stable=1, canary=3)
    driven.poll()
    assert {number: made for number, (_, made) in driven.manager.loaded().items()} == {1: 0.0, 2: 7.0}
    assert driven.manager.loaded()[1][0].path == str(tmp_path / "1")
    assert driven.manager.labels() == {"": 2, "stable": 1, "canary": 3}
