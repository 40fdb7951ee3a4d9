"""Paths, conditions, leases and copies in S3 and Google Cloud Storage, over HTTP."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import boto3
import pytest

from serving import stores
from serving.stores import Changed, Held, Lease, ObjectPath, StoreError, as_path, is_object, leased, put
from tests.components.conftest import generations as generations
from tests.components.conftest import gs as gs
from tests.components.conftest import s3 as s3
from tests.components.stores import Proxy, enter, make_bucket, new_bucket


def test_what_is_in_a_store() -> None:
    assert is_object("s3://shop/models")
    assert is_object(ObjectPath("gs://shop"))
    assert not any(map(is_object, ["models", "file:///models", Path("s3:/shop"), "hdfs://shop"]))
    assert as_path("s3://shop/models/") == ObjectPath("s3://shop/models")
    assert as_path("models") == Path("models")
    path = ObjectPath("s3://shop/models")
    assert as_path(path) is path
    assert str(path / "films" / Path("assets", "items.txt")) == "s3://shop/models/films/assets/items.txt"
    assert (path.name, path.parent, path.with_name(".lock")) == (
        "models",
        ObjectPath("s3://shop"),
        ObjectPath("s3://shop/.lock"),
    )


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """An empty bucket."""
    enter(request.getfixturevalue("generations" if request.param == "gs" else "s3"), monkeypatch)
    return new_bucket(request.param)


@pytest.mark.slow
@pytest.mark.smoke
def test_a_path_is_asked_as_one_on_disk(bucket: ObjectPath) -> None:
    folder = bucket / "films"
    assert not folder.exists()
    assert folder.files() == {}
    assert [*folder.iterdir()] == []
    for name in ("7/saved_model.pb", "7/assets/ä b.txt", "traffic.json"):
        (folder / name).write_bytes(name.encode())
    (bucket / "films-of-others").write_bytes(b"")
    assert [*folder.files()] == ["7/assets/ä b.txt", "7/saved_model.pb", "traffic.json"]
    assert [path.name for path in folder.iterdir()] == ["7", "traffic.json"]
    assert [*folder.glob("*.json")] == [folder / "traffic.json"]
    assert folder.is_dir()
    assert not folder.is_file()
    assert (folder / "traffic.json").is_file()
    assert not (folder / "traffic.json").is_dir()
    assert (folder / "7/assets/ä b.txt").read_text() == "7/assets/ä b.txt"
    with (folder / "7/assets/ä b.txt").open() as text:
        assert [*text] == ["7/assets/ä b.txt"]
    info = (folder / "traffic.json").info()
    assert info is not None
    assert (info.size, abs(info.changed - time.time()) < 60) == (12, True)
    with stores.on_disk(folder / "7") as copy:
        assert (copy.parent.name, copy.name) == ("films", "7")
        assert (copy / "assets/ä b.txt").read_text() == "7/assets/ä b.txt"
    assert not copy.exists()
    stores.remove(folder / "7", "saved_model.pb")
    assert [*folder.files()] == ["traffic.json"]
    (folder / "traffic.json").unlink()
    (folder / "traffic.json").unlink()
    for read in ((folder / "traffic.json").read_bytes, (folder / "traffic.json").open):
        with pytest.raises(FileNotFoundError, match=r"films/traffic\.json"):
            read()


@pytest.mark.slow
@pytest.mark.smoke
def test_an_object_is_written_if_it_is_what_it_was(bucket: ObjectPath) -> None:
    path = bucket / "models.config"
    one = put(path, b"one", "")
    with pytest.raises(Changed, match=r"models\.config: it was changed by somebody else"):
        put(path, b"mine", "")
    two = put(path, b"two", one)
    with pytest.raises(Changed):
        put(path, b"mine", one)
    path.unlink()
    with pytest.raises(Changed):
        put(path, b"mine", two)
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.smoke
def test_a_store_that_is_not_there_is_named(bucket: ObjectPath) -> None:
    nobodys = ObjectPath(str(bucket) + "-none") / "films"
    assert not nobodys.is_dir()
    with pytest.raises(StoreError, match=r"-none/films: no such bucket"):
        nobodys.exists()
    with pytest.raises(StoreError, match=r"-none/films: no such bucket"):
        nobodys.files()


# ---------------------------------------------------------------- leases


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(stores, "_POLL_SECONDS", 0.02)


@pytest.mark.slow
@pytest.mark.smoke
def test_one_holds_a_lease_as_long_as_it_lives(
    bucket: ObjectPath, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LEASE_SECONDS", 6.0)  # within which a busy machine gives a sign of life
    path = bucket / ".lock"
    with leased(path, {"who": "ann"}) as held:
        time.sleep(7)  # longer than it would hold without one
        held.check()
        with pytest.raises(Held) as error, leased(path, {"who": "bob"}):
            pass
        assert error.value.holder == {"who": "ann"}
        taken = threading.Event()

        def wait() -> None:
            with leased(path, {"who": "bob"}, wait=60):
                taken.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not taken.wait(0.2)
    waiting.join(60)
    assert taken.is_set()
    with leased(path, {}):
        pass


DAMAGED = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"until": "soon"}',
    b'{"until": Infinity}',
    b'{"until": 9e12, "about": null}',
]


def die(lease: Lease) -> None:
    """Ends the signs of life of a holder that goes on writing, as one does that was suspended."""
    lease._end.set()
    lease._thread.join()


@pytest.mark.slow
@pytest.mark.smoke
def test_a_dead_holders_lease_runs_out_and_it_writes_no_more(
    bucket: ObjectPath, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, config = bucket / ".lock", bucket / "models.config"
    config.write_bytes(b"before")
    first, second = Lease(path, {"who": "ann"}), Lease(path, {"who": "bob"})
    first.acquire(0)
    die(first)
    with pytest.raises(Held):
        second.acquire(0)
    time.sleep(1.5)
    second.acquire(0)  # which looks at it for a while
    with pytest.raises(StoreError, match=r"\.lock: this lock could not be renewed in time"):
        first.write(config, b"first")
    monkeypatch.setattr(stores, "LEASE_SECONDS", 30.0)  # within which a busy machine gives a sign of life
    second.write(config, b"second")
    first._renewed = stores._seconds()  # a clock that stood still
    with pytest.raises(Changed):
        first.write(config, b"first")
    with pytest.raises(Changed):
        first.write(config, None)
    assert config.read_bytes() == b"second"
    first.release()
    second.check()
    second.write(config, None)
    second.release()
    assert not config.exists()


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("said", DAMAGED)
def test_a_damaged_lock_is_nobodys(bucket: ObjectPath, said: bytes) -> None:
    (bucket / ".lock").write_bytes(said)
    with leased(bucket / ".lock", {"who": "ann"}), pytest.raises(Held, match="ann"), leased(bucket / ".lock", {}):
        pass


@pytest.mark.parametrize("name", ["s3://shop/a?versionId=7", "s3://shop/a::b"])
def test_names_that_stand_for_something_else_are_refused(name: str) -> None:
    with pytest.raises(StoreError, match="a name in a store has no"):
        ObjectPath(name).is_file()


@pytest.mark.slow
@pytest.mark.smoke
def test_of_many_one_gets_it(bucket: ObjectPath, brief: None) -> None:
    inside, most, errors = [0], [0], []

    def work() -> None:
        try:
            with leased(bucket / ".lock", {}, wait=-1):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.01)
                inside[0] -= 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, errors) == ([1], [])


@pytest.mark.slow
def test_a_store_without_conditions_is_refused(gs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    enter(gs, monkeypatch)  # the emulator takes no notice of them
    make_bucket("gs://careless")
    for _ in range(2):
        refused = pytest.raises(StoreError, match=r"\.lock: this store takes no notice of If-None-Match")
        with refused, leased(ObjectPath("gs://careless/.lock"), {}):
            pass
    assert ObjectPath("gs://careless").files() == {}


@pytest.mark.slow
@pytest.mark.parametrize("fate", ["lose", "cut", "twice", "503", "429"])
def test_a_bad_line_neither_loses_a_write_nor_makes_two(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    with Proxy(s3["AWS_ENDPOINT_URL"]) as proxy:
        enter({**s3, "AWS_ENDPOINT_URL": proxy.url}, monkeypatch)
        bucket = new_bucket("s3")
        treated: set[str] = set()

        def once(request) -> str:
            if request.method != "PUT" or request.path in treated:
                return "pass"
            treated.add(request.path)
            return fate

        proxy.fate = once
        with leased(bucket / ".lock", {"who": "ann"}) as lease:
            lease.write(bucket / "models.config", b"one")
            lease.write(bucket / "models.config", b"two")
        assert (bucket / "models.config").read_bytes() == b"two"
        assert proxy.fates.count(fate) == 2, [(r.method, r.path, f) for r, f in zip(proxy.requests, proxy.fates)]
        with leased(bucket / ".lock", {}):
            pass


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("name", ["//etc/passwd", "/../../x", "/a/../../x"])
def test_an_object_whose_name_leads_out_of_the_folder_is_not_copied(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    enter(s3, monkeypatch)
    bucket = new_bucket("s3")
    boto3.client("s3").put_object(Bucket=bucket.name, Key=f"k/7{name}", Body=b"evil")
    with pytest.raises(StoreError, match="this is no name for a file: remove the object"):
        stores.download(bucket / "k" / "7", tmp_path / "copy")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.smoke
def test_an_object_is_not_a_file_and_a_folder(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(s3, monkeypatch)
    bucket = new_bucket("s3")
    for name in ("7", "7/saved_model.pb"):
        (bucket / name).write_bytes(b"")
    with pytest.raises(StoreError, match="an object can't be a file and a folder: remove one of them"):
        stores.download(bucket, tmp_path / "copy")


def test_a_store_in_a_store_is_refused() -> None:
    with pytest.raises(StoreError, match="a name in a store has no '::'"):
        ObjectPath("s3://bucket/a::b").exists()
