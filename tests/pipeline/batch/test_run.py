"""`recommender batch`: the same answers as the served model's, whole files, and what is said where it can't."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from aiobotocore.client import AioBaseClient

from components.errors import InputError, LockedError
from pipeline.batch import run
from pipeline.batch.answers import Wish
from pipeline.batch.outputs import output_of
from pipeline.batch.run import Request, batch
from pipeline.config import Config
from pipeline.local.lock import lock
from serving import stores
from serving.client import RecommenderClient
from serving.server.process import ServerProcess
from serving.stores import ObjectPath
from tests.components.conftest import s3 as s3
from tests.components.indexer.tiny import SETTINGS, make_index, write_towers
from tests.components.stores import enter, make_bucket
from tests.e2e.world import end_group, recommender, start, wait_for
from tests.serving.wire import contract

WORLD = contract.world()
VERSION = "20260102030405"


@pytest.fixture(scope="module")
def base(contract_servable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with a version of the contract's model."""
    base = tmp_path_factory.mktemp("models")
    shutil.copytree(contract_servable, base / "shop" / VERSION)
    return base


@pytest.fixture
def config(base: Path) -> Config:
    return config_of(base)


def config_of(base: Path, **more: Any) -> Config:
    content = {
        "name": "shop",
        "data": {"interactions": {"path": "log.csv"}},
        "serving": {"base_path": base, "default_k": 2},
    }
    return Config.model_validate({**content, **more})


def request(path: Path, k: int = 3, users: str = "all", **wish: Any) -> Request:
    return Request(Wish(k, **wish), output_of(path), users)


def read(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def best(user: str, k: int, history: list[str] = [], exclude: list[str] = []) -> list[str]:  # noqa: B006
    items = WORLD.recommend(user, history, exclude)[0][:k]
    return items + [""] * (k - len(items))


@pytest.mark.slow
@pytest.mark.smoke
def test_everybody_whom_the_model_knows(config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new folder" / "top.csv"
    assert batch(config, request(out)).exit_code == 0
    assert read(out) == [["user_id", "top1", "top2", "top3"], *([user, *best(user, 3)] for user in contract.USERS)]
    assert list(out.parent.iterdir()) == [out]
    said = capfd.readouterr().out
    assert f"5 users in {out}, version {VERSION}" in said


@pytest.mark.slow
@pytest.mark.smoke
def test_titles_scores_and_the_version(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "top.parquet"
    assert batch(config, request(out, k=50)).exit_code == 0
    rows = pq.read_table(str(out)).to_pylist()
    for user in contract.USERS:
        items, scores, source = WORLD.recommend(user, [], [])
        own = [row for row in rows if row["user_id"] == user]
        assert [row["item_id"] for row in own] == items
        assert [row["rank"] for row in own] == list(range(1, len(items) + 1))
        assert [row["title"] for row in own] == [f"Title of {item}" for item in items]
        assert [row["score"] for row in own] == pytest.approx(scores, rel=1e-5, abs=1e-6)
        assert {(row["source"], row["version"]) for row in own} == {(source, VERSION)}


@pytest.mark.slow
@pytest.mark.smoke
def test_a_folder_of_files(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "shard_size", lambda k: 2)
    out = tmp_path / "top"
    for k in (3, 2):  # the second time something is there
        assert batch(config, Request(Wish(k), output_of(out, "csv"))).exit_code == 0
        assert sorted(path.name for path in out.iterdir()) == [f"part-{part:05}-of-00003.csv" for part in range(3)]
        assert read(out / "part-00001-of-00003.csv")[1:] == [[user, *best(user, k)] for user in contract.USERS[2:4]]
        assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
@pytest.mark.smoke
def test_the_audiences_of_all_items(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In shards, the second of which finds no room at first."""
    monkeypatch.setattr(run, "shard_size", lambda k: 20)
    out = tmp_path / "audience.parquet"
    wished = Request(Wish(3, exclude=("ünal",)), output_of(out), items="all")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "put_together", killed)
        assert batch(config, wished).exit_code == 1
    [second] = tmp_path.glob(".audience.parquet.batch/*/parts/part-00001-of-00002.parquet")
    second.unlink()
    outcome = batch(config, wished)
    assert (outcome.exit_code, outcome.facts["items"], outcome.facts["done_before"]) == (0, len(contract.ITEMS), 20)
    said = capfd.readouterr().out
    assert f"going on where a run was stopped: 20 of {len(contract.ITEMS)} items are done" in said
    assert f"{len(contract.ITEMS)} items in {out}, version {VERSION}" in said
    rows = pq.read_table(str(out)).to_pylist()
    for item in contract.ITEMS:
        users, scores = WORLD.audience(item, ["ünal"], without_owners=True)
        own = [row for row in rows if row["item_id"] == item]
        assert [row["user_id"] for row in own] == users[:3]
        assert [row["score"] for row in own] == pytest.approx(scores[:3], rel=1e-4)
        assert {(row["title"], row["version"]) for row in own} == {(f"Title of {item}", VERSION)}
    assert [path.name for path in tmp_path.iterdir()] == ["audience.parquet"]


@pytest.mark.slow
@pytest.mark.smoke
def test_audiences_that_can_not_be_had(config: Config, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "audience.csv"
    with pytest.raises(InputError, match=r"-k 1001: this model answers 1 to 1000 users"):
        batch(config, Request(Wish(1_001), output_of(out), items="all"))
    with pytest.raises(InputError, match=r"--items .*which\.txt: can't be read: .*; it is all or a file of items"):
        batch(config, Request(Wish(1), output_of(out), items=str(tmp_path / "which.txt")))
    with pytest.raises(InputError, match=r"filter is .*; not price<=3$"):
        batch(config, Request(Wish(1, filters=("price<=3",)), output_of(out), items="all"))
    assert not list(tmp_path.iterdir())
    silent = tmp_path / "models" / "shop" / VERSION
    shutil.copytree(base / "shop" / VERSION, silent)
    manifest = json.loads((silent / "assets.extra" / "recommender.json").read_text())
    (silent / "assets.extra" / "recommender.json").write_text(json.dumps({**manifest, "max_k_of_users": None}))
    with pytest.raises(
        InputError, match=r"^--items: .* says nothing of users: make a version with serving\.audience: t"
    ):
        batch(config_of(tmp_path / "models"), Request(Wish(1), output_of(out), items="all"))


@pytest.mark.slow
@pytest.mark.smoke
def test_nothing_is_answered_twice(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill when all parts were there the next run needs no model."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "put_together", killed)
        assert batch(config, request(tmp_path / "top.csv")).exit_code == 1
    monkeypatch.setattr("pipeline.batch.shards.answer_shards", killed)
    assert batch(config, request(tmp_path / "top.csv")).exit_code == 0
    assert [row[0] for row in read(tmp_path / "top.csv")[1:]] == contract.USERS
    assert [path.name for path in tmp_path.iterdir()] == ["top.csv"]


@pytest.mark.slow
@pytest.mark.smoke
def test_a_folder_survives_a_kill_while_it_is_replaced(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "top"
    assert batch(config, Request(Wish(3), output_of(out, "csv"))).exit_code == 0
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if target == out:
            raise KeyboardInterrupt  # of all that can happen here what leaves most behind
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    assert batch(config, Request(Wish(2), output_of(out, "csv"))).exit_code == 1
    assert not out.exists()
    monkeypatch.undo()
    with pytest.raises(InputError, match="the model refuses"):  # another wish, which comes to nothing
        batch(config, Request(Wish(2, filters=("colour=red",)), output_of(out, "csv")))
    [part] = out.iterdir()
    assert read(part)[0] == ["user_id", "top1", "top2", "top3"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
@pytest.mark.smoke
def test_rows_of_their_own(config: Config, tmp_path: Path) -> None:
    users = tmp_path / "users.jsonl"
    rows: list[dict[str, Any]] = [
        {"user_id": "ann"},
        {"user_id": "ann", "history": ["ä", "item 3"]},
        {"user_id": "somebody new", "history": ["item 3"], "exclude": ["item 1", "item 2"]},
        {"user_id": "nobody"},
    ]
    users.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "top.csv"
    assert batch(config, request(out, users=str(users), exclude=("item 7",))).exit_code == 0
    assert read(out)[1:] == [
        [row["user_id"], *best(row["user_id"], 3, row.get("history", []), [*row.get("exclude", []), "item 7"])]
        for row in rows
    ]


@pytest.mark.slow
@pytest.mark.smoke
def test_a_context_counts(tmp_path: Path) -> None:
    towers = write_towers(tmp_path / "towers", [{"name": "shift", "type": "number"}], ["shift"])
    from components.indexer.saving import save_servable

    path = tmp_path / "models" / "shop" / "1"
    save_servable(towers, make_index(towers, tmp_path), SETTINGS, "tiny", str(path))
    users = tmp_path / "users.jsonl"
    rows = [{"user_id": "ann"}, {"user_id": "ann", "context": {"shift": 7}}, {"user_id": "stranger", "history": ["f"]}]
    users.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "top.parquet"
    config = config_of(tmp_path / "models")
    assert batch(config, Request(Wish(1), output_of(out), str(users), {"shift": 3})).exit_code == 0
    found = pq.read_table(str(out)).to_pylist()
    signature = tf.saved_model.load(str(path)).signatures["recommend_in_context"]
    for row, user, history, shift in zip(found, ["ann", "ann", "stranger"], [[], [], ["f"]], [3.0, 7.0, 3.0]):
        example = tf.train.Example()
        example.features.feature["shift"].float_list.value.append(shift)
        single = signature(
            user_id=tf.constant([user]),
            history=tf.constant([history], tf.string, [1, len(history)]),
            exclude=tf.zeros([1, 0], tf.string),
            context=tf.constant([example.SerializeToString()]),
            k=tf.constant(1),
        )
        assert row["score"] == pytest.approx(single["scores"].numpy()[0, 0], rel=1e-5)


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """A folder with a config, in which the command is run."""
    config = {
        "name": "shop",
        "data": {"interactions": {"path": "log.csv"}},
        "serving": {"base_path": str(base), "default_k": 2},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.slow
def test_the_same_answers_as_from_the_model_server(base: Path, folder: Path) -> None:
    rules = ["--filter", "price>=0", "--filter", "tags=new", "--boost", "brand=acme:0.5", "--diversity", "0.3"]
    allowed = [item for item in contract.ITEMS if "," not in item and '"' not in item]
    options = [*rules, "--allow", ",".join(allowed), "--exclude", "item 1,item 2", "-k", "7", "--layout", "long"]
    ended = recommender(folder, "batch", "--config", "config.yaml", "--out", "top.csv", *options)
    assert (ended.code, ended.stderr) == (0, ""), ended.text
    _, *rows = read(folder / "top.csv")
    assert rows
    with (
        ServerProcess(base, "shop") as server,
        RecommenderClient(server.grpc_target, model="shop") as client,
    ):
        for user in contract.USERS:
            answer = client.recommend(
                user,
                exclude=["item 1", "item 2"],
                k=7,
                allow=allowed,
                filters={"price>=": 0, "tags": "new"},
                boosts={"brand=acme": 0.5},
                diversity=0.3,
            )
            own = [row for row in rows if row[0] == user]
            assert [row[2] for row in own] == answer.item_ids
            assert [float(row[4]) for row in own] == pytest.approx([item.score for item in answer.items], rel=1e-5)
            assert {(row[5], row[6]) for row in own} == {(answer.source, str(answer.version))}


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with(folder: Path) -> None:
    users = [f"user {number}" for number in range(40_000)]
    (folder / "users.txt").write_text("\n".join(users))
    arguments = ("batch", "--config", "config.yaml", "--users", "users.txt", "--out", "top.csv", "-k", "30")
    (folder / "top.csv").write_text("old")

    def parts() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in folder.glob(".top.csv.batch/*/parts/part-*")}

    process = start(folder, *arguments)
    try:
        wait_for(lambda: len(parts()) >= 2, "two parts", 120)
    finally:
        end_group(process)
    left = parts()
    assert 2 <= len(left) < 10
    assert (folder / "top.csv").read_text() == "old"
    # What another wish left is no part of this one's.
    other = folder / ".top.csv.batch" / "0123456789abcdef" / "parts"
    other.mkdir(parents=True)
    (other / "part-00009-of-00010.csv").write_text("wrong")

    ended = recommender(folder, *arguments)
    assert ended.code == 0, ended.text
    assert f"going on where a run was stopped: {4096 * len(left):,} of 40,000 users are done" in ended.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "top.csv", "users.txt"]
    _, *rows = read(folder / "top.csv")
    assert [row[0] for row in rows] == users
    popular = best("stranger", 30)
    assert all(row[1:] == popular for row in rows)


@pytest.mark.slow
def test_an_interrupted_run_says_so(folder: Path) -> None:
    (folder / "users.txt").write_text("\n".join(f"user {number}" for number in range(200_000)))
    process = start(folder, "batch", "--config", "config.yaml", "--users", "users.txt", "--out", "top.csv", "-k", "30")
    try:
        wait_for(lambda: list(folder.glob(".top.csv.batch/*/parts/part-*")), "a part", 120)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        stdout, stderr = process.communicate(timeout=60)
    finally:
        end_group(process)
    assert process.returncode == 1
    assert "interrupted; run it again" in stdout
    assert "Traceback" not in stdout + stderr
    assert not (folder / "top.csv").exists()


@pytest.mark.slow
def test_workers_in_other_processes(folder: Path) -> None:
    (folder / "users.txt").write_text("\n".join(f"user {number}" for number in range(9_000)))
    beam = ["--runner=FnApiRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    arguments = ["batch", "--config", "config.yaml", "--users", "users.txt", "--set", f"beam.pipeline_args={beam}"]
    ended = recommender(folder, *arguments, "--out", "top.csv")
    assert (ended.code, ended.stderr) == (0, ""), ended.text
    assert len(read(folder / "top.csv")) == 9_001
    ended = recommender(folder, *arguments, "--out", "other.csv", "--filter", "colour=red")
    assert (ended.code, "Traceback" in ended.text) == (2, False), ended.text
    assert "the model refuses the request: filter is NAME=VALUE" in ended.stderr


@pytest.mark.slow
@pytest.mark.smoke
def test_a_full_disk(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done is kept, and what was there before stays until all is done."""
    monkeypatch.setattr(run, "shard_size", lambda k: 2)
    out = tmp_path / "top.csv"
    out.write_text("old")
    flush, calls = os.fsync, []

    def watched(descriptor: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        if name.startswith((".part-", "whole")):  # a part on its way; all together
            calls.append(name)
        flush(descriptor)

    def full(descriptor: int) -> None:
        watched(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=rf"{out}: can't be written: No space left on device; make room"):
        batch(config, request(out))
    assert out.read_text() == "old"
    assert len(list(tmp_path.glob(".top.csv.batch/*/parts/*"))) == 1
    calls.clear()
    monkeypatch.setattr(os, "fsync", watched)
    assert batch(config, request(out)).exit_code == 0
    assert len(calls) == 3  # two parts that were missing, and the whole
    assert [row[0] for row in read(out)[1:]] == contract.USERS


@pytest.mark.slow
@pytest.mark.smoke
def test_nothing_is_left_of_a_refused_wish(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the model refuses the request: filter is .*; not colour=red$"):
        batch(config, request(tmp_path / "top.csv", filters=("colour=red",)))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.smoke
def test_another_run_at_the_same_output(config: Config, tmp_path: Path) -> None:
    (tmp_path / ".top.csv.batch").mkdir()
    with lock(tmp_path / ".top.csv.batch"), pytest.raises(LockedError, match=r"another run .* with another --out"):
        batch(config, request(tmp_path / "top.csv"))
    assert batch(config, request(tmp_path / "top.csv")).exit_code == 0


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("k", [0, 1_001])
def test_more_items_than_the_model_answers(config: Config, tmp_path: Path, k: int) -> None:
    with pytest.raises(InputError, match=rf"-k {k}: this model answers 1 to 1000 items"):
        batch(config, request(tmp_path / "top.csv", k=k))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.smoke
def test_a_place_that_can_not_be_written(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written"):
        batch(config, request(tmp_path / "file" / "top.csv"))


@pytest.mark.slow
@pytest.mark.smoke
def test_no_users_of_that_name(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--users .*who\.txt: can't be read"):
        batch(config, request(tmp_path / "top.csv", users=str(tmp_path / "who.txt")))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.smoke
def test_no_version(config: Config, tmp_path: Path) -> None:
    other = config.model_copy(update={"name": "other"})
    with pytest.raises(InputError, match="no version"):
        batch(other, request(tmp_path / "top.csv"))


@pytest.mark.slow
@pytest.mark.smoke
def test_another_kind_of_saved_model(config: Config, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").touch()
    with pytest.raises(InputError, match="no servable of this pipeline"):
        batch(config, request(tmp_path / "top.csv"), str(tmp_path / "model"))


@pytest.mark.slow
@pytest.mark.smoke
def test_another_wish_is_other_work(base: Path, tmp_path: Path) -> None:
    """What decides the output decides the name of the work, and nothing else does."""
    path, users = base / "shop" / VERSION, tmp_path / "users.txt"
    users.write_text("ann")

    def digest(
        fingerprint: str = "f", name: str = "top.csv", layout: str | None = None, of_items: bool = False, **wish: Any
    ) -> str:
        output = output_of(tmp_path / name, None, layout)
        items = str(users) if of_items else None
        return run._digest(Request(Wish(**{"k": 3, **wish}), output, str(users), items=items), path, fingerprint)

    same = digest()
    assert digest(name="else.csv") == same
    others = [
        digest("g"),
        digest(name="top.parquet"),
        digest(layout="long"),
        digest(k=4),
        digest(exclude=("a",)),
        digest(filters=("a=b",)),
        digest(boosts=(("a=b", 1.0),)),
        digest(diversity=0.5),
        digest(of_items=True),
        digest(of_items=True, exclude_owners=False),
    ]
    users.write_text("bob")
    others.append(digest())
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.slow
@pytest.mark.smoke
def test_shards_are_neither_large_nor_tiny() -> None:
    assert [run.shard_size(k) for k in (1, 100, 1_000, 57_000)] == [4_096, 4_096, 524, 64]


@pytest.mark.slow
def test_an_output_in_a_store(base: Path, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(s3, monkeypatch)
    make_bucket("s3://answers")
    store, config = ObjectPath("s3://answers/top"), config_of(base, output=tmp_path)

    def asked(out: ObjectPath, k: int = 3, **format: str) -> Request:
        return Request(Wish(k), output_of(str(out), **format), "all")

    outcome = batch(config, asked(store / "top.csv"))
    assert outcome.facts is not None
    assert outcome.facts["out"] == store / "top.csv"
    with stores.on_disk(store) as copy:
        assert read(copy / "top.csv")[1:] == [[user, *best(user, 3)] for user in contract.USERS]

    monkeypatch.setattr(run, "shard_size", lambda k: 2)
    folder, original = store / "parts", AioBaseClient._make_api_call
    (folder / "part-00007-of-00009.parquet").write_bytes(b"of an earlier one")
    (folder / "_SUCCESS").write_bytes(b"")

    async def fails(self: Any, operation: str, parameters: Any) -> Any:
        if operation == "PutObject" and "00001" in parameters["Key"]:
            raise PermissionError("the store is away")
        return await original(self, operation, parameters)

    with monkeypatch.context() as patched:
        patched.setattr(AioBaseClient, "_make_api_call", fails)
        with pytest.raises(InputError, match=r"parts: can't be written: the store is away.*what is done is kept"):
            batch(config, asked(folder, file_format="parquet"))
    assert not (folder / "_SUCCESS").exists(), "half of it is not whole"
    outcome = batch(config, asked(folder, file_format="parquet"))
    assert outcome.facts is not None
    assert outcome.facts["done_before"] == len(contract.USERS)
    assert [*folder.files()] == ["_SUCCESS", *(f"part-0000{n}-of-00003.parquet" for n in range(3))]
    with stores.on_disk(folder) as copy:
        assert set(pq.read_table(copy)["user_id"].to_pylist()) == set(contract.USERS)
    assert not [*tmp_path.rglob("part-*")]
    (folder / "thesis.tex").write_bytes(b"")
    with pytest.raises(InputError, match=r"--out s3://answers/top/parts: there is what `recommender batch` didn't"):
        asked(folder, file_format="parquet")
