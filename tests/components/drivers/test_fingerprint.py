"""The digest of input files."""

import pytest

from components.drivers.fingerprint import fingerprint
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
