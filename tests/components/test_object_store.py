"""Versions in an object store: in memory, and S3 and Google Cloud Storage over HTTP."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem
from tfx.types import standard_artifacts

from components import object_store, versions
from components.champion import executor as champion
from components.errors import InputError
from components.evaluation_report import Report, save_report
from components.pusher import executor as pusher
from tests.components.nodes import make_model
from tests.components.stores import enter, forget, gs_server, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(scope="module")
def gs() -> Iterator[dict[str, str]]:
    with gs_server() as environment:
        yield environment


@pytest.fixture(autouse=True)
def _time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_now", lambda: 20260102030405)
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])


@pytest.fixture(params=["memory", "s3", "gs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param != "memory":
        enter(request.getfixturevalue(request.param), monkeypatch)
        fsspec.filesystem(request.param).mkdir(name)
    return f"{request.param}://{name}"


@pytest.fixture
def base(bucket: str) -> str:
    return f"{bucket}/models/films"


@pytest.fixture
def servable(tmp_path: Path) -> Path:
    return make(tmp_path / "servable", "a1")


def make(folder: Path, fingerprint: str) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"weights")
    (folder / "assets.extra/recommender.json").write_text(json.dumps({"fingerprint": fingerprint}))
    return folder


def objects(uri: str) -> dict[str, bytes]:
    """What is in a store, by the paths below `uri`."""
    with object_store.opened(uri) as (store, path):
        return {name[len(path) + 1 :]: store.cat_file(name) for name in store.find(path)}


def put(uri: str, content: bytes) -> None:
    with object_store.opened(uri) as (store, path):
        store.pipe_file(path, content)


def test_a_version_is_the_servable_and_what_is_said_of_it(base: str, servable: Path) -> None:
    version = object_store.publish(servable, base, {"blessed": True, "why": "ä"})
    assert version == object_store.Version(20260102030405, f"{base}/20260102030405", "a1")
    found = objects(version.path)
    assert json.loads(found.pop("assets.extra/release.json")) == {"blessed": True, "why": "ä"}
    assert found == {
        "assets.extra/recommender.json": b'{"fingerprint": "a1"}',
        "saved_model.pb": b"graph",
        "variables/variables.index": b"weights",
    }


def test_the_newest_is_the_highest_number_with_a_saved_model(base: str, servable: Path, tmp_path: Path) -> None:
    assert object_store.newest(base) is None
    for _ in range(2):
        object_store.publish(servable, base, {})
    other = object_store.publish(make(tmp_path / "other", "b2"), base, {})
    put(f"{base}/30000000000000/variables/variables.index", b"unfinished")
    put(f"{base}/latest/saved_model.pb", b"no number")
    assert object_store.newest(base) == other
    assert other.number == 20260102030407
    found = object_store.newest(base, other_than="b2")
    assert found is not None
    assert (found.number, found.fingerprint) == (20260102030406, "a1")
    assert object_store.newest(base[:-1]) is None, "a name that this one begins with"
    assert object_store.publish(servable, base, {}).number == 30000000000001, (
        "an unfinished one's files are not mixed in"
    )


def test_what_comes_back_is_what_was_published(base: str, servable: Path, tmp_path: Path) -> None:
    # gcsfs ends parts with a bare newline, so that the server takes a last carriage return for a part of that.
    (servable / "variables/variables.data-00000-of-00001").write_bytes(os.urandom(1 << 20) + b"\0")
    version = object_store.publish(servable, base, {})
    object_store.download(version, tmp_path / "copy")
    for path in servable.rglob("*"):
        if path.is_file():
            assert (tmp_path / "copy" / path.relative_to(servable)).read_bytes() == path.read_bytes()
    with object_store.opened(version.path) as (store, path):
        store.rm(path, recursive=True)
    with pytest.raises(InputError, match="this version was removed while it was read"):
        object_store.download(version, tmp_path / "gone")


def test_a_version_says_why_it_is_there_and_not_why_its_servable_once_was(base: str, servable: Path) -> None:
    (servable / "assets.extra/release.json").write_text('{"why": "pushed elsewhere"}')
    version = object_store.publish(servable, base, {"why": "new"})
    assert json.loads(objects(version.path)["assets.extra/release.json"]) == {"why": "new"}


def test_what_is_no_servable_is_not_published(bucket: str, servable: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SavedModel to publish"):
        object_store.publish(tmp_path, f"{bucket}/films", {})
    (servable / "assets.extra/recommender.json").write_text("{")
    with pytest.raises(InputError, match=r"servable/assets\.extra/recommender\.json: damaged"):
        object_store.publish(servable, f"{bucket}/films", {})
    assert objects(f"{bucket}/films") == {}


def test_a_damaged_version_is_named(base: str, servable: Path) -> None:
    object_store.publish(servable, base, {})
    put(f"{base}/20260102030405/assets.extra/recommender.json", b"{")
    with pytest.raises(InputError, match=r"20260102030405/assets\.extra/recommender\.json: damaged: .*remove that"):
        object_store.newest(base)


# ---------------------------------------------------------------- writes that fail


class Writes:
    """Writes to the store in memory, which can be made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.fails, self.error = "\n", OSError("quota exceeded")
        for name in ("pipe_file", "put_file"):
            monkeypatch.setattr(MemoryFileSystem, name, self._watched(name, getattr(MemoryFileSystem, name)))

    def _watched(self, name: str, write):
        def watched(store: MemoryFileSystem, one: str, other, **options) -> None:
            path = one if name == "pipe_file" else other
            if path.endswith(self.fails):
                raise self.error
            write(store, one, other, **options)
            self.order.append(path)

        return watched


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


BASE = "memory://bucket/models/films"


def test_saved_model_comes_last(writes: Writes, servable: Path) -> None:
    version = object_store.publish(servable, BASE, {})
    names = [path.partition(f"/{version.number}/")[2] for path in writes.order]
    assert names == [
        "assets.extra/release.json",
        "assets.extra/recommender.json",
        "variables/variables.index",
        "saved_model.pb",
    ]


@pytest.mark.parametrize("full", ["saved_model.pb", "variables.index", "release.json"])
def test_nothing_is_left_of_a_version_that_could_not_be_written(writes: Writes, servable: Path, full: str) -> None:
    writes.fails = full
    with pytest.raises(InputError, match=re.escape(BASE) + ".*quota exceeded"):
        object_store.publish(servable, BASE, {})
    assert objects(BASE) == {}


@pytest.mark.parametrize("at", ["saved_model.pb", "variables.index"])
def test_an_interrupt_leaves_what_is_no_version(writes: Writes, servable: Path, at: str) -> None:
    writes.fails, writes.error = at, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        object_store.publish(servable, BASE, {})
    assert object_store.newest(BASE) is None
    writes.fails = "\n"
    assert object_store.publish(servable, BASE, {}).number == 20260102030406


# ---------------------------------------------------------------- stores that say no


def test_errors_name_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing://b/x: Protocol not known: nothing"):
        object_store.newest("nothing://b/x")

    def down(*_: object, **__: object) -> None:
        raise OSError("no route to the store")

    monkeypatch.setattr(MemoryFileSystem, "ls", down)
    with pytest.raises(InputError, match=r"memory://bucket/models/films: .*no route to the store"):
        object_store.newest(BASE)
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a bug is none of the store's
        object_store.newest(BASE)


def test_what_s3_refuses(s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(s3, monkeypatch)
    for ask in (object_store.newest, lambda uri: object_store.publish(servable, uri, {})):
        with pytest.raises(InputError, match=r"s3://nobodys/films: no such bucket .*are the store's address"):
            ask("s3://nobodys/films")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    forget()
    with pytest.raises(InputError, match=r"s3://nobodys/films: Unable to locate credentials"):
        object_store.newest("s3://nobodys/films")


def test_an_s3_server_that_is_not_there(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    enter({**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, monkeypatch)
    monkeypatch.setattr(S3FileSystem, "retries", 1)  # or it takes ten seconds
    with pytest.raises(InputError, match=r"s3://bucket/films: Could not connect to the endpoint URL"):
        object_store.newest("s3://bucket/films")


def test_an_endpoint_and_keys_in_a_profile(
    s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(
        f"[profile store]\nendpoint_url = {s3['AWS_ENDPOINT_URL']}\nregion = {s3['AWS_DEFAULT_REGION']}\n"
        f"aws_access_key_id = {s3['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {s3['AWS_SECRET_ACCESS_KEY']}\n"
    )
    for name in s3:
        monkeypatch.delenv(name, raising=False)
    enter({"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "store"}, monkeypatch)
    boto3.Session().client("s3").create_bucket(Bucket="of-a-profile")
    version = object_store.publish(servable, "s3://of-a-profile/films", {})
    assert object_store.newest("s3://of-a-profile/films") == version


def test_objects_that_stand_for_folders_are_no_files(
    s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(s3, monkeypatch)
    client = boto3.client("s3")
    client.create_bucket(Bucket="folders")
    for key in ("models/", "models/films/", "models/films/7/", "models/films/20260102030405/variables/"):
        client.put_object(Bucket="folders", Key=key, Body=b"")
    assert object_store.newest("s3://folders/models/films") is None
    version = object_store.publish(servable, "s3://folders/models/films", {})
    client.put_object(Bucket="folders", Key=f"models/films/{version.number}/variables/", Body=b"")
    assert object_store.newest("s3://folders/models/films") == version
    object_store.download(version, tmp_path / "copy")
    assert (tmp_path / "copy/variables/variables.index").read_bytes() == b"weights"


# ---------------------------------------------------------------- who uses it


def artifact(kind, uri="", **properties):
    made = kind()
    made.uri = str(uri)
    for name, value in properties.items():
        (made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property)(name, value)
    return [made]


def test_pusher_and_champion(base: str, tmp_path: Path) -> None:
    metrics = {"candidate": {"overall": {"hit_rate@10": 0.25}}}
    save_report(Report(metrics, (), True, "hit_rate@10", {}, "all", 1, 1), str(tmp_path))
    place = {"base_path": f"{base.rpartition('/')[0]}/", "model_name": "films"}

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
        pusher.Executor().Do(inputs, {"pushed_model": [pushed]}, {**place, "origin": "{}"})
        return pushed

    old, new = make_model(tmp_path / "old", "old"), make_model(tmp_path / "new", "new")
    pushed = push(old)
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == f"{base}/20260102030405"
    assert push(old).get_string_custom_property("reason").startswith("nothing new: ")

    for driven in ({}, {"champion_version": "20260102030405", "champion_fingerprint": "old"}):
        output = tmp_path / f"champion{len(driven)}"
        [found] = artifact(standard_artifacts.Model, output)
        inputs = {"model": artifact(standard_artifacts.Model, new)}
        champion.Executor().Do(inputs, {"champion": [found]}, {**place, **driven})
        assert found.get_string_custom_property("fingerprint") == "old"
        assert (output / "Format-Serving/saved_model.pb").read_bytes() == b"graph of old"


def test_a_folder_by_its_uri_is_no_store() -> None:
    assert not object_store.is_uri("file:///models")
    with pytest.raises(InputError, match=r"base path file:///models: .*must be a local or mounted directory"):
        versions.model_dir("file:///models", "films")
