"""Versions in an object store: S3 and Google Cloud Storage over HTTP."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from pathlib import Path

import boto3
import pytest
from s3fs import S3FileSystem
from tfx.types import standard_artifacts

from components import versions
from components.champion import executor as champion
from components.champion.champion import copy_champion
from components.data_profile import PROFILE, DataProfile
from components.errors import InputError
from components.evaluation_report import Report, save_report
from components.pusher import executor as pusher
from serving.stores import ObjectPath, StoreError, download, is_object, remove
from tests.components.nodes import make_model
from tests.components.stores import Killed, Proxy, Request, enter, forget, new_bucket

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_now", lambda: 20260102030405)


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """An empty bucket."""
    enter(request.getfixturevalue("generations" if request.param == "gs" else "s3"), monkeypatch)
    return new_bucket(request.param)


@pytest.fixture
def base(bucket: ObjectPath) -> ObjectPath:
    return bucket / "models/films"


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


def objects(folder: ObjectPath) -> dict[str, bytes]:
    """What is in a store, by the paths below."""
    return {name: (folder / name).read_bytes() for name in folder.files()}


def test_a_version_is_the_servable_and_what_is_said_of_it(base: ObjectPath, servable: Path) -> None:
    version = versions.publish(servable, base, {"blessed": True, "why": "ä"})
    assert version == versions.Version(20260102030405, base / "20260102030405", "a1")
    found = objects(version.path)
    assert json.loads(found.pop("assets.extra/release.json")) == {"blessed": True, "why": "ä"}
    assert found == {
        "assets.extra/recommender.json": b'{"fingerprint": "a1"}',
        "saved_model.pb": b"graph",
        "variables/variables.index": b"weights",
    }


def test_the_newest_is_the_highest_number_with_a_saved_model(base: ObjectPath, servable: Path, tmp_path: Path) -> None:
    assert versions.newest(base) is None
    for _ in range(2):
        versions.publish(servable, base, {})
    other = versions.publish(make(tmp_path / "other", "b2"), base, {})
    (base / "30000000000000/variables/variables.index").write_bytes(b"somebody else's, unfinished")
    (base / "latest/saved_model.pb").write_bytes(b"no number")
    assert versions.newest(base) == other
    assert other.number == 20260102030407
    found = versions.newest(base, other_than="b2")
    assert found is not None
    assert (found.number, found.fingerprint) == (20260102030406, "a1")
    assert versions.newest(base.with_name("film")) is None, "a name that this one begins with"
    assert versions.publish(servable, base, {}).number == 30000000000001, "an unfinished one's files are not mixed in"


def test_what_comes_back_is_what_was_published(base: ObjectPath, servable: Path, tmp_path: Path) -> None:
    # gcsfs ends parts with a bare newline, so that the server takes a last carriage return for a part of that.
    (servable / "variables/variables.data-00000-of-00001").write_bytes(os.urandom(1 << 20) + b"\0")
    version = versions.publish(servable, base, {})
    download(version.path, tmp_path / "copy")
    for path in servable.rglob("*"):
        if path.is_file():
            assert (tmp_path / "copy" / path.relative_to(servable)).read_bytes() == path.read_bytes()
    remove(version.path, "saved_model.pb")
    with pytest.raises(InputError, match="this version was removed while it was read"):
        copy_champion(version, str(tmp_path / "gone"))


def test_a_version_says_why_it_is_there_and_not_why_its_servable_once_was(base: ObjectPath, servable: Path) -> None:
    (servable / "assets.extra/release.json").write_text('{"why": "pushed elsewhere"}')
    version = versions.publish(servable, base, {"why": "new"})
    assert json.loads(objects(version.path)["assets.extra/release.json"]) == {"why": "new"}


def test_what_is_no_servable_is_not_published(bucket: ObjectPath, servable: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SavedModel to publish"):
        versions.publish(tmp_path, bucket / "films", {})
    (servable / "assets.extra/recommender.json").write_text("{")
    with pytest.raises(InputError, match=r"servable/assets\.extra/recommender\.json: damaged"):
        versions.publish(servable, bucket / "films", {})
    assert objects(bucket / "films") == {}


def test_a_damaged_version_is_named(base: ObjectPath, servable: Path) -> None:
    versions.publish(servable, base, {})
    (base / "20260102030405/assets.extra/recommender.json").write_bytes(b"{")
    with pytest.raises(InputError, match=r"20260102030405/assets\.extra/recommender\.json: damaged: .*remove that"):
        versions.newest(base)


# ---------------------------------------------------------------- what others see meanwhile


def check_whole(base: ObjectPath) -> None:
    """Makes sure that whatever has a `saved_model.pb` has all else too."""
    found: dict[str, set[str]] = {}
    for name in base.files():
        number, _, rest = name.partition("/")
        found.setdefault(number, set()).add(rest)
    for number, names in found.items():
        assert "saved_model.pb" not in names or len(names) == 4, f"{number} is half there: {sorted(names)}"


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_all_is_uploaded_before_any_of_it_is_seen_and_saved_model_comes_last(
    kind: str, request: pytest.FixtureRequest, servable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (servable / "variables/variables.data").write_bytes(os.urandom(9 << 20))  # more than one part
    environment = request.getfixturevalue(kind)
    [(name, url)] = [(name, value) for name, value in environment.items() if value.startswith("http")]
    with Proxy(url, generations=True) as proxy:
        enter({**environment, name: proxy.url}, monkeypatch)
        base = new_bucket(kind) / "films"
        direct = boto3.client("s3", endpoint_url=url) if kind == "s3" else None
        seen: list[list[str]] = []

        def look(asked: Request) -> str:
            if asked.method in ("PUT", "POST") and direct is not None:
                listed = direct.list_objects_v2(Bucket=base.parent.name, Prefix="films/").get("Contents", [])
                seen.append([key["Key"].partition("/20260102030405/")[2] for key in listed])
            return "pass"

        proxy.fate = look
        version = versions.publish(servable, base, {})
        download(version.path, servable.parent / "copy")
        assert (servable.parent / "copy/variables/variables.data").read_bytes() == (
            servable / "variables/variables.data"
        ).read_bytes()
        if direct is not None:
            sizes = [len(names) for names in seen]
            assert sizes == sorted(sizes)
            assert sizes.count(0) > 10, "uploads that nobody sees"
            assert all("saved_model.pb" not in names for names in seen[:-1])


def test_a_publisher_that_is_killed_at_any_write(
    s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch, killer: dict[str, int]
) -> None:
    enter(s3, monkeypatch)
    base = new_bucket("s3") / "films"
    lock = versions.publish_lock(base)
    done = False
    for writes in itertools.count():
        before = [version.number for version in versions.list_versions(base)]
        killer["left"] = writes
        with contextlib.suppress(Killed):
            versions.publish(servable, base, {})
            done = True
        killer["left"] = 1 << 30
        check_whole(base)
        after = [version.number for version in versions.list_versions(base)]
        assert after[: len(before)] == before
        assert len(after) - len(before) in ((1,) if done else (0, 1))
        lock.unlink()  # or it would have to run out
        if done:
            break
    assert writes >= 3 + 4 * 3, "the lease, a look whether it is one, its end; and each of four files"
    versions.publish(servable, base, {})
    numbers = {name.partition("/")[0] for name in base.files()}
    assert numbers == {str(version.number) for version in versions.list_versions(base)}, "nothing is left of the killed"
    bucket = base.parent.name
    assert boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


@pytest.mark.parametrize("fate", ["lose", "twice", "late", "503", "429"])
def test_a_version_over_a_bad_line(
    s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    with Proxy(s3["AWS_ENDPOINT_URL"]) as proxy:
        enter({**s3, "AWS_ENDPOINT_URL": proxy.url}, monkeypatch)
        base = new_bucket("s3") / "films"
        treated: set[str] = set()

        def once(asked: Request) -> str:
            kind = re.sub("=[^&]*", "", asked.path)
            if "saved_model.pb" not in asked.path or asked.method not in ("PUT", "POST") or kind in treated:
                return "pass"
            treated.add(kind)
            return fate

        proxy.fate = once
        version = versions.publish(servable, base, {})
        assert proxy.fates.count(fate) == 3, "to begin it, to upload it, and to let it be seen"
        time.sleep(0.6 * (fate == "late"))
        check_whole(base)
        assert [found.number for found in versions.list_versions(base)] == [version.number]
        assert (version.path / "saved_model.pb").read_bytes() == b"graph"


@pytest.mark.parametrize("refused", ["saved_model.pb?uploadId", "saved_model.pb?uploads", "variables.index?uploadId"])
def test_nothing_is_left_of_a_version_that_could_not_be_written(
    s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    with Proxy(s3["AWS_ENDPOINT_URL"]) as proxy:
        enter({**s3, "AWS_ENDPOINT_URL": proxy.url}, monkeypatch)
        base = new_bucket("s3") / "films"
        proxy.fate = lambda asked: "400" if asked.method == "POST" and refused in asked.path else "pass"
        with pytest.raises(InputError, match=re.escape(str(base)) + ": a new version can't be written: .*"):
            versions.publish(servable, base, {})
        assert objects(base) == {}
        assert boto3.client("s3").list_multipart_uploads(Bucket=base.parent.name).get("Uploads", []) == []


# ---------------------------------------------------------------- stores that say no


def test_what_s3_refuses(s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(s3, monkeypatch)
    with pytest.raises(StoreError, match=r"s3://nobodys/films: no such bucket .*is the store's address right"):
        versions.newest("s3://nobodys/films")
    with pytest.raises(InputError, match=r"s3://nobodys/films: a new version can't be written: no such bucket"):
        versions.publish(servable, "s3://nobodys/films", {})
    with pytest.raises(InputError, match=r"s3://nobodys/films: can't be written: .*bucket does not exist"):
        versions.check_writable("s3://nobodys/films")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    forget()
    with pytest.raises(StoreError, match=r"s3://nobodys/films: Unable to locate credentials"):
        versions.newest("s3://nobodys/films")


def test_an_s3_server_that_is_not_there(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    enter({**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, monkeypatch)
    monkeypatch.setattr(S3FileSystem, "retries", 1)  # or it takes ten seconds
    with pytest.raises(StoreError, match=r"s3://bucket/films: Could not connect to the endpoint URL"):
        versions.newest("s3://bucket/films")


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
    version = versions.publish(servable, "s3://of-a-profile/films", {})
    assert versions.newest("s3://of-a-profile/films") == version


def test_objects_that_stand_for_folders_are_no_files(
    s3: dict[str, str], servable: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(s3, monkeypatch)
    client = boto3.client("s3")
    client.create_bucket(Bucket="folders")
    for key in ("models/", "models/films/", "models/films/7/", "models/films/20260102030405/variables/"):
        client.put_object(Bucket="folders", Key=key, Body=b"")
    assert versions.newest("s3://folders/models/films") is None
    version = versions.publish(servable, "s3://folders/models/films", {})
    client.put_object(Bucket="folders", Key=f"models/films/{version.number}/variables/", Body=b"")
    assert versions.newest("s3://folders/models/films") == version
    download(version.path, tmp_path / "copy")
    assert (tmp_path / "copy/variables/variables.index").read_bytes() == b"weights"


# ---------------------------------------------------------------- who uses it


def artifact(kind, uri="", **properties):
    made = kind()
    made.uri = str(uri)
    for name, value in properties.items():
        (made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property)(name, value)
    return [made]


def test_pusher_and_champion(base: ObjectPath, tmp_path: Path) -> None:
    metrics = {"candidate": {"overall": {"hit_rate@10": 0.25}}}
    save_report(Report(metrics, (), True, "hit_rate@10", {}, "all", 1, 1), str(tmp_path))
    (tmp_path / PROFILE).write_text("{}")
    place = {"base_path": f"{base.parent}/", "model_name": "films"}

    def push(model, judged=None):
        inputs = {
            "model": artifact(standard_artifacts.Model, model),
            "model_blessing": artifact(standard_artifacts.ModelBlessing, blessed=1),
            "infra_blessing": artifact(standard_artifacts.InfraBlessing, blessed=1),
            "evaluation": artifact(standard_artifacts.ModelEvaluation, tmp_path),
            "champion": artifact(standard_artifacts.Model),
            "examples": artifact(standard_artifacts.Examples),
            "profile": artifact(DataProfile, tmp_path),
            "judged": artifact(standard_artifacts.Model, judged) if judged else [],
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
        outputs = {"champion": [found], "queries": artifact(standard_artifacts.Examples, tmp_path / "queries")}
        champion.Executor().Do(inputs, outputs, {**place, **driven})
        assert found.get_string_custom_property("fingerprint") == "old"
        assert (output / "Format-Serving/saved_model.pb").read_bytes() == b"graph of old"

    # What was shipped for a candidate is not its champion.
    push(make_model(tmp_path / "shipped", "shipped"), judged=new)
    assert versions.newest(base).fingerprint == "shipped"
    assert versions.newest(base, other_than="new").fingerprint == "old"


def test_a_folder_by_its_uri_is_no_store() -> None:
    assert not is_object("file:///models")
    with pytest.raises(InputError, match=r"base path file:///models: it must be a local or mounted directory"):
        versions.model_dir("file:///models", "films")
