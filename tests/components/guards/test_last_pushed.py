"""Which version was pushed last, and what it says of its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.data_profile import IN_VERSION
from components.errors import InputError
from components.guards.last_pushed import newest, read
from components.guards.profile import to_json
from components.versions import publish
from tests.components.guards.data import profile
from tests.components.nodes import make_model
from tests.components.stores import enter, make_bucket


def test_a_version_carries_the_profile_of_its_data(tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert newest(str(base), "m") == ""
    assert read(str(base), "m", "") == ("", None)
    silent = publish(make_model(tmp_path / "old", "old") / "Format-Serving", base / "m")
    assert read(str(base), "m", newest(str(base), "m")) == (str(silent.number), None)
    text = to_json(profile())
    source = make_model(tmp_path / "new", "new") / "Format-Serving"
    version = publish(source, base / "m", {}, {IN_VERSION: text})
    found = read(str(base), "m", newest(str(base), "m"))
    assert found.version == str(version.number)
    assert found.profile is not None
    assert to_json(found.profile) == text
    (version.path / IN_VERSION).write_text("{")
    with pytest.raises(InputError, match=r"data_profile\.json: damaged"):
        read(str(base), "m", found.version)


@pytest.mark.slow
def test_a_version_in_an_object_store(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(s3, monkeypatch)
    make_bucket("s3://guards")
    base, model = "s3://guards/models", f"{make_model(tmp_path / 'new', 'new')}/Format-Serving"
    assert newest(base, "m") == ""
    silent = publish(model, f"{base}/m", {})
    assert read(base, "m", str(silent.number)) == (str(silent.number), None)
    version = publish(model, f"{base}/m", {}, {IN_VERSION: to_json(profile())})
    found = read(base, "m", newest(base, "m"))
    assert found.version == str(version.number)
    assert found.profile is not None
    assert found.profile.listed == 180
