"""The digest of input files."""

import hashlib
import json

import pytest

from components import suppression
from components.data_profile import FILES
from components.drivers.fingerprint import fingerprint, note
from components.errors import InputError


def test_the_fingerprint_goes_by_content(tmp_path):
    (tmp_path / "log.csv").write_text("a")
    (tmp_path / "users.csv").write_text("b")
    properties = {"input_path": f"{tmp_path}/log.csv", "users_path": f"{tmp_path}/users.csv", "settings": "{}"}
    first = fingerprint(properties)
    (tmp_path / "log.csv").write_text("a")
    assert fingerprint(properties) == first
    (tmp_path / "users.csv").write_text("c")
    assert fingerprint(properties) != first
    (tmp_path / "users.csv").unlink()
    with pytest.raises(InputError, match=r"users: there is no file"):
        fingerprint(properties)


def test_the_files_of_vectors_count_too(tmp_path):
    for name in ("items.csv", "look.npy", "ids"):
        (tmp_path / name).write_text("a")
    look = {"path": f"{tmp_path}/look.npy", "ids": f"{tmp_path}/ids"}
    settings = json.dumps({"features": {"look": look, "title": {"path": None}}})
    properties = {"input_path": f"{tmp_path}/items.csv", "settings": settings}
    seen = {fingerprint(properties)}
    for name in ("look.npy", "ids"):
        (tmp_path / name).write_text("b")
        seen.add(fingerprint(properties))
    assert len(seen) == 3
    (tmp_path / "ids").unlink()
    with pytest.raises(InputError, match=r"features\.look\.ids: there is no file .*ids"):
        fingerprint(properties)


def test_which_files_were_read_is_noted_with_the_digests_that_the_driver_has_made(tmp_path):
    (tmp_path / "log.csv").write_text("abc")
    (tmp_path / "users.csv").write_text("b")
    properties = {"input_path": f"{tmp_path}/log.csv", "users_path": f"{tmp_path}/users.csv", "settings": "{}"}
    note({**properties, "input_fingerprint": fingerprint(properties)}, str(tmp_path / "out"), of="interactions")
    noted = json.loads((tmp_path / "out" / FILES).read_text())
    digest = hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert noted["interactions"] == [{"path": f"{tmp_path}/log.csv", "bytes": 3, "digest": digest}]
    assert [file["bytes"] for file in noted["users"]] == [1]
    note(properties, str(tmp_path / "out"), of="interactions")
    assert json.loads((tmp_path / "out" / FILES).read_text())["interactions"][0]["digest"] == ""


def test_the_list_of_users_who_are_forgotten_counts_once_there_is_one(tmp_path):
    (tmp_path / "log.csv").write_text("a")
    properties = {"input_path": f"{tmp_path}/log.csv", "settings": "{}"}
    before = fingerprint(properties)
    properties["suppression"] = f"{tmp_path}/suppression.json"
    assert fingerprint(properties) == before
    suppression.add(properties["suppression"], ["ann"])
    first = fingerprint(properties)
    suppression.add(properties["suppression"], ["bob"])
    assert len({before, first, fingerprint(properties)}) == 3
