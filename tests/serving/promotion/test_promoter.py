"""Promotion against replicas that keep TensorFlow Serving's rules: all or none, whatever fails or is killed when."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Optional

import pytest
from aiobotocore.client import AioBaseClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from s3fs import S3FileSystem

from serving.client import Tls
from serving.promotion import (
    Promoter,
    PromotionError,
    PromotionFailed,
    PromotionLocked,
    WrongPromotion,
    files,
    read_audit,
)
from serving.server.process import environment
from serving.stores import ObjectPath
from tests.components.conftest import s3 as s3
from tests.components.stores import enter, new_bucket
from tests.serving.client.test_tls import certificates as certificates
from tests.serving.client.test_tls import server_tls
from tests.serving.fake_replica import FakeReplica, publish
from tests.serving.promotion.effects import EFFECTS
from tests.serving.promotion.world import M, World, newest_only


def state(world: World) -> tuple[dict[str, int], list[set[int]]]:
    return world.labels, [replica.available(M) for replica in world.replicas]


@pytest.mark.slow
@pytest.mark.smoke
def test_the_first_promotion_ends_that_the_newest_is_served(world: World) -> None:
    assert state(world) == ({}, [{3}, {3}])
    entry = world.promoter(why="first", who="ann", metrics=lambda version: {"hit_rate@10": version / 10}).promote(
        1, "stable"
    )
    assert state(world) == ({"stable": 1}, [{1}, {1}])
    assert (entry.who, entry.why, entry.from_version, entry.to_version) == ("ann", "first", None, 1)
    assert entry.metrics == {"hit_rate@10": 0.1}
    assert entry.replicas == tuple(replica.target for replica in world.replicas)
    assert read_audit(world.base) == [entry]
    publish(world.base, M, 4)
    for replica in world.replicas:
        replica.poll()
    assert state(world) == ({"stable": 1}, [{1}, {1}]), "what is pushed isn't served before it is promoted"


@pytest.mark.slow
@pytest.mark.smoke
def test_what_was_served_is_served_until_the_label_has_moved(world: World) -> None:
    loaded: dict[str, set[int]] = {}

    def say(message: str) -> None:
        loaded[message] = world.replicas[0].available(M)

    world.promoter(say=say).promote(1, "stable")
    assert loaded["moving the label"] == loaded["unloading"] == {1, 3}
    world.promoter().promote(2, "stable")
    world.promoter(say=say).promote(3, "stable")
    assert loaded["loading"] == {1, 2}
    assert loaded["moving the label"] == loaded["unloading"] == {1, 2, 3}
    assert world.replicas[0].available(M) == {2, 3}


@pytest.mark.slow
@pytest.mark.smoke
def test_a_replica_on_which_the_label_does_not_move(world: World) -> None:
    world.promoter().promote(1, "stable")
    world.replicas[1].deaf = True
    with pytest.raises(
        PromotionFailed, match=r"label 'stable' is answered by version 1, not 2. Everything is as it was"
    ):
        world.promoter().promote(2, "stable")
    assert state(world) == ({"stable": 1}, [{1}, {1}])


def test_a_replica_that_takes_no_config_from_here(world: World) -> None:
    world.replicas[1].closed = True
    with pytest.raises(
        PromotionFailed, match=r"takes no config from here: PERMISSION_DENIED: elsewhere only; name the port that does"
    ):
        world.promoter().promote(1, "stable")
    assert state(world) == ({}, [{3}, {3}])
    assert [path.name for path in world.base.iterdir() if path.name.startswith(("models", ".promotion.j"))] == []
    world.replicas[1].closed = False
    world.promoter().promote(1, "stable")


@pytest.mark.slow
@pytest.mark.smoke
def test_a_server_of_somebody_else(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("other")
    publish(base, M, 7)
    with pytest.raises(PromotionFailed, match=rf"serves m version 3, which isn't in {base}/m: is it another's server"):
        Promoter(base, M, [replica.target for replica in world.replicas]).promote(7, "stable")
    assert [path.name for path in base.iterdir() if path.name.startswith(("models", ".promotion.j"))] == []


@pytest.mark.slow
@pytest.mark.smoke
def test_the_version_before_stays_loaded_for_a_rollback(world: World) -> None:
    for version in (1, 2, 3):
        world.promoter().promote(version, "stable")
    assert state(world) == ({"stable": 3}, [{2, 3}, {2, 3}])
    reloads = world.replicas[0].reloads
    assert world.promoter().rollback().to_version == 2
    assert state(world) == ({"stable": 2}, [{2}, {2}]), "what was rolled back from isn't served any more"
    assert world.promoter().rollback().to_version == 1, "a second rollback goes further back, not forth again"
    assert world.replicas[0].reloads > reloads
    with pytest.raises(WrongPromotion, match="no earlier stable version on disk"):
        world.promoter().rollback()
    assert world.promoter().promote(3, "stable").from_version == 1
    assert world.promoter().rollback().to_version == 1


@pytest.mark.slow
@pytest.mark.smoke
def test_a_version_whose_files_were_damaged_is_not_given_a_label(world: World) -> None:
    for version in (1, 2, 3):
        world.promoter().promote(version, "stable")
    damaged = world.base / M / "2" / "saved_model.pb"
    damaged.write_text("half")  # still loaded
    with pytest.raises(WrongPromotion, match=r"m/2: its files are not what they were"):
        world.promoter().rollback()
    assert state(world) == ({"stable": 3}, [{2, 3}, {2, 3}])
    with pytest.raises(WrongPromotion, match=r"m/2: its files are not what they were"):
        world.promoter().promote(2, "stable")
    assert world.promoter().promote(1, "stable").result == "done"
    world.promoter().promote(3, "stable")
    damaged.write_text("")
    assert world.promoter().promote(2, "stable").result == "done"


@pytest.mark.slow
@pytest.mark.smoke
def test_a_canary_is_tried_beside_the_stable_version(world: World) -> None:
    with pytest.raises(WrongPromotion, match="promote one to stable first"):
        world.promoter().promote(3, "canary")
    world.promoter().promote(1, "stable")
    world.promoter().promote(2, "stable")
    world.promoter().promote(3, "canary")
    assert state(world) == ({"stable": 2, "canary": 3}, [{1, 2, 3}, {1, 2, 3}])
    world.promoter().share(0.05)
    traffic = json.loads((world.base / M / "traffic.json").read_text())
    assert traffic == {"label": "canary", "share": 0.05, "salt": "m:3"}
    world.promoter().stop_canary()
    assert state(world) == ({"stable": 2, "canary": 2}, [{1, 2}, {1, 2}])
    assert json.loads((world.base / M / "traffic.json").read_text())["share"] == 0
    with pytest.raises(WrongPromotion, match="no version under trial: begin with canary start"):
        world.promoter().share(0.1)
    world.promoter().promote(3, "stable")
    assert world.labels == {"stable": 3, "canary": 3}, "without a trial canary goes where stable goes"
    world.promoter().rollback()
    assert world.labels == {"stable": 2, "canary": 2}


@pytest.mark.slow
@pytest.mark.smoke
def test_promoting_the_canary_ends_its_trial(world: World) -> None:
    world.promoter().promote(1, "stable")
    world.promoter().promote(3, "canary")
    world.promoter().share(1.0)
    world.promoter().promote(3, "stable")
    assert state(world) == ({"stable": 3, "canary": 3}, [{1, 3}, {1, 3}])
    assert files.read_share(world.base, M) == 0


@pytest.mark.slow
@pytest.mark.smoke
def test_a_rollback_leaves_a_trial_alone(world: World) -> None:
    for version in (1, 2):
        world.promoter().promote(version, "stable")
    world.promoter().promote(3, "canary")
    world.promoter().rollback()
    assert state(world) == ({"stable": 1, "canary": 3}, [{1, 3}, {1, 3}])


@pytest.mark.slow
@pytest.mark.smoke
def test_retire_unloads_and_deletes(world: World) -> None:
    with pytest.raises(WrongPromotion, match="load what is newest"):
        world.promoter().retire(3)
    for version in (1, 2):
        world.promoter().promote(version, "stable")
    with pytest.raises(WrongPromotion, match="version 2 has the label stable"):
        world.promoter().retire(2)
    with pytest.raises(WrongPromotion, match=r"no version 9 \(there are: 1, 2, 3\)"):
        world.promoter().retire(9)
    world.promoter().retire(1)
    assert state(world) == ({"stable": 2}, [{2}, {2}])
    assert sorted(path.name for path in (world.base / M).iterdir()) == ["2", "3"]
    with pytest.raises(WrongPromotion, match="no earlier stable version on disk"):
        world.promoter().rollback()


@pytest.mark.slow
@pytest.mark.smoke
def test_a_labelled_version_that_somebody_deleted(world: World) -> None:
    for version in (1, 2):
        world.promoter().promote(version, "stable")
    shutil.rmtree(world.base / M / "2")
    for replica in world.replicas:
        replica.poll()
    world.promoter().promote(3, "stable")
    assert state(world) == ({"stable": 3}, [{3}, {3}])
    assert world.promoter().rollback().to_version == 1


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("load", "version 4 can't be loaded: it is broken. Everything is as it was before"),
        ("answers", "version 4 answers wrongly: a history: item 'i00', which was seen or excluded"),
    ],
)
def test_a_broken_version_changes_nothing(world: World, broken: str, message: str) -> None:
    world.promoter().promote(1, "stable")
    before = (world.base / "models.config").read_text(), state(world)
    publish(world.base, M, 4, broken)
    for label in ("stable", "canary"):
        with pytest.raises(PromotionFailed, match=message):
            world.promoter().promote(4, label)
        assert ((world.base / "models.config").read_text(), state(world)) == before
        world.check()
        assert read_audit(world.base)[-1].result.startswith("undone: ")


@pytest.mark.slow
@pytest.mark.smoke
def test_a_broken_first_version_leaves_the_newest_served(world: World) -> None:
    publish(world.base, M, 0, "answers")
    with pytest.raises(PromotionFailed, match="answers wrongly"):
        world.promoter().promote(0, "stable")
    assert not (world.base / "models.config").exists()
    assert state(world) == ({}, [{3}, {3}])


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("nth", range(4))
def test_one_replica_that_refuses_puts_all_back(world: World, nth: int) -> None:
    world.promoter().promote(1, "stable")
    before = state(world)
    world.replicas[1].refuse_reload = nth
    if nth == 3:  # the label has moved everywhere: that is not undone
        with pytest.raises(PromotionFailed, match=r"is done, but not what follows: .*refused for the test"):
            world.promoter().promote(2, "stable")
        world.promoter().promote(2, "canary")
        assert [e.result for e in read_audit(world.base)] == ["done"] * 3
    else:
        with pytest.raises(PromotionFailed, match=r"refused for the test"):
            world.promoter().promote(2, "stable")
        assert state(world) == before


@pytest.mark.slow
@pytest.mark.smoke
def test_a_replica_that_is_down(world: World) -> None:
    world.promoter().promote(1, "stable")
    down = world.replicas[1]
    down.stop()
    with pytest.raises(PromotionFailed, match=f"no model server that serves m at {down.target}: start it"):
        world.promoter().promote(2, "stable")
    assert world.labels == {"stable": 1}
    world.promoter(skip_down=True).promote(2, "stable")
    assert world.labels == {"stable": 2}
    # It starts again, as `recommender serve` starts it: from models.config.
    world.replicas[1] = FakeReplica(files.read_config(world.base), labels_first=True)
    world.promoter().promote(3, "stable")
    for replica in world.replicas:
        replica.stop()
    with pytest.raises(PromotionFailed, match="no model server"):
        world.promoter(skip_down=True).rollback()
    for number in range(2):
        world.replicas[number] = FakeReplica(files.read_config(world.base), labels_first=True)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_replica_that_goes_down_in_the_middle(world: World) -> None:
    world.promoter().promote(1, "stable")

    def say(message: str) -> None:
        if message == "moving the label":
            world.replicas[1].stop()

    with pytest.raises(PromotionFailed, match=r"it could not be undone: .*--skip-down"):
        world.promoter(say=say).promote(2, "stable")
    assert world.labels == {"stable": 1}
    with pytest.raises(PromotionFailed, match="could not be undone"):
        world.promoter().promote(3, "stable")
    down = world.replicas[1]
    world.replicas[1] = FakeReplica(files.read_config(world.base), labels_first=True, port=down.port)
    world.promoter().promote(3, "stable")
    assert [(e.to_version, e.result[:6]) for e in read_audit(world.base)] == [(1, "done"), (2, "undone"), (3, "done")]


@pytest.mark.slow
@pytest.mark.smoke
def test_a_replica_that_never_comes_back_holds_nothing_up(world: World) -> None:
    world.promoter().promote(1, "stable")

    def say(message: str) -> None:
        if message == "unloading":
            world.replicas[1].stop()

    with pytest.raises(PromotionFailed, match=r"is done, but not what follows: .*--skip-down"):
        world.promoter(say=say).promote(2, "stable")
    world.promoter(skip_down=True).promote(3, "stable")
    assert [(e.to_version, e.result) for e in read_audit(world.base)] == [(1, "done"), (2, "done"), (3, "done")]
    world.replicas[1] = FakeReplica(files.read_config(world.base), labels_first=True)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_replica_that_was_started_without_models_config(world: World) -> None:
    world.promoter().promote(1, "stable")
    world.replicas[1].stop()
    world.replicas[1] = FakeReplica(newest_only(world.base))
    with pytest.raises(PromotionFailed, match=r"refuses the new config: FAILED_PRECONDITION: .*Nothing was"):
        world.promoter().promote(2, "stable")
    assert world.labels == {"stable": 1}
    world.replicas[1].stop()
    world.replicas[1] = FakeReplica(newest_only(world.base), labels_first=True)
    world.promoter().promote(2, "stable")


@pytest.mark.slow
@pytest.mark.smoke
def test_offline_writes_for_servers_that_start_later(tmp_path: Path) -> None:
    publish(tmp_path, M, 1)
    publish(tmp_path, M, 2)
    promoter = Promoter(tmp_path, M, [])
    promoter.promote(1, "stable")
    promoter.promote(2, "canary")
    promoter.promote(2, "stable")
    with FakeReplica(files.read_config(tmp_path), labels_first=True) as replica:
        assert replica.labels == {M: {"stable": 2, "canary": 2}}
        assert replica.available(M) == {1, 2}


@pytest.mark.slow
@pytest.mark.smoke
def test_other_models_are_left_alone(world: World) -> None:
    other = files.render(None, "other", "/srv/other", {"stable": 7}, {6, 7})
    publish(world.base, "other", 7)
    files.write_config(world.base, other.replace("/srv/other", str(world.base / "other")))
    # These servers know nothing of m yet.
    for number, replica in enumerate(world.replicas):
        replica.stop()
        world.replicas[number] = FakeReplica(files.read_config(world.base))
    before = (world.base / "models.config").read_text()
    publish(world.base, M, 4, "answers")
    with pytest.raises(PromotionFailed, match="answers wrongly"):
        world.promoter().promote(4, "stable")
    assert (world.base / "models.config").read_text() == before
    world.promoter().promote(2, "stable")
    config = files.read_config(world.base)
    assert files.aspired(config, "other") == files.Aspired({"stable": 7}, frozenset({6, 7}))
    assert files.aspired(config, M) == files.Aspired({"stable": 2}, frozenset({2}))


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by the openssl command")
def test_servers_that_want_a_certificate(tmp_path: Path, certificates: Path) -> None:
    for version in (1, 2):
        publish(tmp_path, M, version)
    config, credentials = newest_only(tmp_path), server_tls("grpc", certificates, verify=True)
    with FakeReplica(config, credentials=credentials) as replica:
        ca, certificate, key = (str(certificates / name) for name in ("ca.pem", "client.pem", "client.key"))
        with pytest.raises(PromotionFailed, match="no model server"):
            Promoter(tmp_path, M, [replica.target], tls=Tls(ca)).promote(1, "stable")
        Promoter(tmp_path, M, [replica.target], tls=Tls(ca, certificate, key)).promote(1, "stable")
        assert replica.labels == {M: {"stable": 1}}


@pytest.mark.slow
@pytest.mark.smoke
def test_unknown_label_version_and_share(world: World) -> None:
    with pytest.raises(WrongPromotion, match="label 'beta': it is stable or canary"):
        world.promoter().promote(1, "beta")
    with pytest.raises(WrongPromotion, match="no version 12"):
        world.promoter().promote(12, "stable")
    with pytest.raises(WrongPromotion, match="share 5: it is from 0 to 1"):
        world.promoter().share(5)
    with pytest.raises(WrongPromotion, match="no such base path"):
        Promoter(world.base / "nowhere", M, []).promote(1, "stable")
    assert not (world.base / "models.config").exists()


# Object stores


@pytest.fixture
def store(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """The base path in an empty bucket."""
    enter(s3, monkeypatch)
    return new_bucket("s3") / "models"


@pytest.mark.slow
@pytest.mark.smoke
def test_all_goes_in_a_store_as_on_disk(store: ObjectPath, tmp_path: Path) -> None:
    told = []
    for base in (tmp_path, store):
        with contextlib.closing(World(base)) as world:
            entries = [
                world.promoter().promote(1, "stable"),
                world.promoter().promote(2, "canary"),
                world.promoter().share(0.25),
                world.promoter().promote(2, "stable"),
                world.promoter().rollback(),
                world.promoter().promote(3, "stable"),
                world.promoter().retire(2),
            ]
            world.check()
            with pytest.raises(WrongPromotion, match=r"m: no version 2 \(there are: 1, 3\)"):
                world.promoter().promote(2, "stable")
            for version in (4, 5):
                publish(base, M, version)
            assert files.prune(base, M, 2) == []
            assert files.remove_versions(base, M, [1, 4, 5], "of no use") == [4]
            assert files.verify_audit(base).faults == ()
            assert [entry.to_version for entry in entries] == [entry.to_version for entry in read_audit(base)[:7]]
            told.append(
                (
                    [(e.action, e.label, e.from_version, e.to_version, e.result, e.digest) for e in read_audit(base)],
                    [*files.needed(base, M)],
                    files.versions_on_disk(base, M),
                    files.read_share(base, M),
                    state(world),
                    str(files.read_config(base)).replace(str(base), "BASE"),
                )
            )
    assert told[0] == told[1]


@pytest.mark.slow
def test_two_promoters_exclude_each_other_in_a_store(store: ObjectPath) -> None:
    with contextlib.closing(World(store)) as world, files.lock(store, "promote m"):
        with pytest.raises(
            PromotionLocked, match=rf"^{store}: another promotion is under way \('promote m' by .*--lock"
        ):
            world.promoter().promote(1, "stable")
        assert world.labels == {}


@pytest.mark.slow
def test_a_kill_at_any_write_to_a_store_is_put_right(store: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [1 << 30]
    original = AioBaseClient._make_api_call

    async def call(self: Any, operation: str, parameters: Any) -> Any:
        if left[0] <= 0:
            raise ConnectionError("killed")
        left[0] -= not operation.startswith(("Get", "Head", "List"))
        return await original(self, operation, parameters)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", call)
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    for version in (1, 2):
        publish(store, M, version)
    Promoter(store, M, []).promote(1, "stable")
    now = 1
    for writes in itertools.count():
        (store / ".promotion.lock").unlink()  # or it would have to run out
        left[0] = writes
        with contextlib.suppress(PromotionError, OSError):
            Promoter(store, M, []).promote(3 - now, "stable")
        killed, left[0] = left[0] <= 0, 1 << 30
        # What a server that starts now would serve is all there.
        config = files.aspired(files.read_config(store), M)
        assert config is not None
        assert set(config.labels.values()) <= config.named <= {1, 2}
        (store / ".promotion.lock").unlink()
        Promoter(store, M, []).recover()
        assert files.read_journal(store) is None
        assert files.verify_audit(store).faults == ()
        ended = files.stable_version(store, M)
        assert ended in ((1, 2) if killed else (3 - now,))
        moved = [entry.to_version for entry in read_audit(store) if entry.result == "done"]
        assert moved[-1] == ended
        now = ended
        if not killed:
            break
    assert writes >= 14


# Kills


class Killed(BaseException):
    """Stands for SIGKILL: after it nothing has any effect."""


class Killer:
    """Lets a number of effects happen, and after them none."""

    def __init__(self) -> None:
        self.left: Optional[int] = None
        self._lock = threading.Lock()
        self._originals = [(owner, name, getattr(owner, name)) for owner, name in EFFECTS]
        for owner, name, original in self._originals:
            setattr(owner, name, self._guarded(original))

    def _guarded(self, original: Any) -> Any:
        def effect(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                if self.left is not None:
                    self.left -= 1
                    if self.left < 0:
                        raise Killed
            return original(*arguments, **options)

        return effect

    def restore(self) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)


class Promotions(RuleBasedStateMachine):
    """Random commands, some killed at a random moment, some met by a replica that refuses."""

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.killer = Killer()
        self.world = World(Path(self.directory.name))
        self.next = 4
        self.pending = False

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.killer.restore()
            self.world.close()
            self.directory.cleanup()

    kills = st.one_of(st.none(), st.integers(0, 16))
    versions = st.integers(1, 6)

    def run(self, kill: Optional[int], work: Any, expected: Any) -> None:
        """Runs a command; `expected` gives the labels after it from those before."""
        before = self.world.labels
        self.killer.left = kill
        try:
            work(self.world.promoter())
        except Killed:
            self.pending = True
        except PromotionError:
            self.pending = False
            self.killer.left = None
            if files.read_journal(self.world.base) is None:
                assert self.world.labels == before
            else:
                self.pending = True
        else:
            self.pending = False
            assert self.world.labels == expected(before)
        self.killer.left = None

    @rule()
    def push(self) -> None:
        if self.next < 7:
            publish(self.world.base, M, self.next)
            self.next += 1

    @rule(version=versions, kill=kills)
    def stable(self, version: int, kill: Optional[int]) -> None:
        self.recover()

        def expected(labels: dict[str, int]) -> dict[str, int]:
            follows = "canary" in labels and labels["canary"] == labels["stable"]
            return {**labels, "stable": version, **({"canary": version} if follows else {})}

        self.run(kill, lambda promoter: promoter.promote(version, "stable"), expected)

    @rule(version=versions, kill=kills)
    def canary(self, version: int, kill: Optional[int]) -> None:
        self.recover()
        self.run(kill, lambda p: p.promote(version, "canary"), lambda labels: {**labels, "canary": version})

    @rule(kill=kills)
    def rollback(self, kill: Optional[int]) -> None:
        self.recover()
        history = files.stable_history(read_audit(self.world.base), self.world.labels.get("stable"))

        def expected(labels: dict[str, int]) -> dict[str, int]:
            there = files.versions_on_disk(self.world.base, M)
            target = [v for v in history[:-1] if v != labels["stable"] and v in there][-1]
            follows = labels.get("canary") == labels["stable"]
            return {**labels, "stable": target, **({"canary": target} if follows else {})}

        self.run(kill, lambda promoter: promoter.rollback(), expected)

    @rule(kill=kills)
    def stop_canary(self, kill: Optional[int]) -> None:
        self.recover()
        self.run(kill, lambda promoter: promoter.stop_canary(), lambda labels: {**labels, "canary": labels["stable"]})

    @rule(share=st.sampled_from([0.0, 0.05, 1.0]))
    def share(self, share: float) -> None:
        self.recover()
        self.run(None, lambda promoter: promoter.share(share), lambda labels: labels)

    @rule(version=versions, kill=kills)
    def retire(self, version: int, kill: Optional[int]) -> None:
        self.recover()
        self.run(kill, lambda promoter: promoter.retire(version), lambda labels: labels)

    @rule(which=st.integers(0, 1), nth=st.integers(0, 4))
    def refuse(self, which: int, nth: int) -> None:
        self.world.replicas[which].refuse_reload = nth

    def recover(self) -> None:
        """What the next command does first; here on its own, so that the model knows the labels after it."""
        while (journal := files.read_journal(self.world.base)) is not None:  # a refusal may hit the first
            with pytest.raises(PromotionError):
                self.world.promoter().promote(99, "stable")
            moved = journal.phase == "labelled"
            expected = files.aspired(files.parse_config(journal.after if moved else journal.before), M)
            assert self.world.labels == dict(expected.labels)
        self.pending = False

    @precondition(lambda self: hasattr(self, "world") and not self.pending)
    @invariant()
    def all_is_well(self) -> None:
        self.world.check()

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def labels_are_always_answered(self) -> None:
        """Also between a kill and what follows it; and what a server would read that starts now."""
        for replica in self.world.replicas:
            assert replica.violations == []
            assert set(replica.labels.get(M, {}).values()) <= replica.available(M)
        found = files.aspired(files.read_config(self.world.base), M)
        if found:
            assert set(found.labels.values()) <= set(found.versions or ())
            assert found.named <= {*files.versions_on_disk(self.world.base, M)}


TestPromotions = pytest.mark.slow(pytest.mark.smoke(Promotions.TestCase))
TestPromotions.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@pytest.mark.parametrize("nth", range(20))
def test_a_killed_command_that_is_run_again_is_done_once(world: World, nth: int) -> None:
    for version in (1, 2, 3):
        world.promoter().promote(version, "stable")
    killer = Killer()
    try:
        for work in (Promoter.rollback, lambda promoter: promoter.retire(3)):
            killer.left = nth
            with contextlib.suppress(Killed):
                work(world.promoter())
                continue
            killer.left = None
            assert work(world.promoter()).result == "done"
    finally:
        killer.restore()
    assert world.labels["stable"] == 2
    assert files.versions_on_disk(world.base, M) == [1, 2]


@pytest.mark.slow
def test_killed_at_every_effect(tmp_path: Path) -> None:
    """A promotion by a process that is killed at its n-th effect; whoever comes next puts it right."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from serving.promotion import Promoter\n"
        "from tests.serving.promotion.effects import EFFECTS\n"
        "left = int(sys.argv[2])\n"
        "def guard(original):\n"
        "    def effect(*arguments, **options):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return original(*arguments, **options)\n"
        "    return effect\n"
        "for owner, name in EFFECTS: setattr(owner, name, guard(getattr(owner, name)))\n"
        "Promoter(Path(sys.argv[1]), 'm', sys.argv[3:]).promote(2, 'stable')\n"
    )
    world = World(tmp_path)
    world.promoter().promote(1, "stable")
    results = []
    for effects in (1, 4, 7, 9, 11, 14, 16, 30):
        ended = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), str(effects), *(r.target for r in world.replicas)],
            env=environment(),
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
        )
        killed = ended.returncode == -signal.SIGKILL
        assert killed or ended.returncode == 0, ended.stderr
        labels = [replica.labels[M]["stable"] for replica in world.replicas]
        assert set(labels) <= {1, 2}
        world.promoter().promote(1, "stable")
        world.check()
        results.append((killed, labels))
    assert results[-1] == (False, [2, 2])
    assert {tuple(labels) for killed, labels in results if killed} >= {(1, 1), (2, 2)}
    world.close()
