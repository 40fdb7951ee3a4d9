"""The list of users who are forgotten."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from components import suppression
from components.errors import InputError


def test_a_list_tells_who_is_in_it_and_nobody_who_that_is(tmp_path: Path) -> None:
    path = str(tmp_path / "lists" / "suppression.json")
    with pytest.raises(InputError, match="is a disk not mounted"):
        suppression.read(path)
    (tmp_path / "lists").mkdir()
    assert suppression.read(path) is None
    assert suppression.read("") is None
    suppression.add(path, ["ann"])
    found = suppression.add(path, ["bob", "ann"])
    assert found == suppression.read(path)
    assert [found.has(name) for name in ("ann", "bob", "Ann", "")] == [True, True, False, False]
    key = bytes.fromhex(Path(path + ".key").read_text())
    hashes = {hmac.new(key, name, hashlib.sha256).hexdigest() for name in (b"ann", b"bob")}
    assert set(json.loads(Path(path).read_text())["hashes"]) == hashes
    assert os.stat(path + ".key").st_mode & 0o77 == 0
    assert found.among(pa.array(["bob", "eve", None, "ann", "bob"])).tolist() == [True, False, False, True, True]


def test_another_list_has_another_key(tmp_path: Path) -> None:
    first, second = (suppression.add(str(tmp_path / name), ["ann"]) for name in ("a", "b"))
    assert first.hashes != second.hashes


def test_a_list_that_can_not_be_read_stops(tmp_path: Path) -> None:
    path = tmp_path / "suppression.json"
    suppression.add(str(path), ["ann"])
    key = Path(f"{path}.key")
    key.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"suppression\.json\.key: .*bring it back"):
        suppression.read(str(path))
    (tmp_path / "elsewhere").rename(key)
    path.write_text("{}")
    with pytest.raises(InputError, match="can't be read: 'format'"):
        suppression.read(str(path))
    path.write_text('{"format": 2, "hashes": []}')
    with pytest.raises(InputError, match="update it"):
        suppression.read(str(path))
    path.unlink()
    with pytest.raises(InputError, match="is gone, and its key is there: bring it back"):
        suppression.read(str(path))
    assert suppression.add(str(path), ["bob"]) == suppression.read(str(path))


@pytest.mark.slow
def test_several_may_add_to_a_list_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "suppression.json")
    threads = [threading.Thread(target=suppression.add, args=(path, [f"user {n}"])) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = suppression.read(path)
    assert found is not None
    assert all(found.has(f"user {n}") for n in range(20))
