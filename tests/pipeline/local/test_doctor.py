"""The doctor: names what is missing or broken, and counts only what the pipeline needs."""

import importlib.util
import io
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from components.errors import InputError
from pipeline.config import Config
from pipeline.data import datasets
from pipeline.local import doctor


def load_setup_env():
    path = Path(__file__).parents[3] / "requirements" / "setup_env.py"
    spec = importlib.util.spec_from_file_location("setup_env", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def healthy(monkeypatch, tmp_path):
    """An installation in which all is as it should be, without importing TFX."""
    monkeypatch.setattr(doctor, "MODULES", ("json", "email.message"))
    monkeypatch.setattr(
        doctor, "_locked_versions", lambda track: {"tfx": {"1.16.0"}, "rich": {metadata.version("rich")}}
    )
    installed = {**dict.fromkeys(doctor.KEY_PACKAGES, "1.0"), "tfx": "1.16.0", "rich": metadata.version("rich")}
    monkeypatch.setattr(doctor, "_installed", installed.get)
    monkeypatch.setattr(doctor, "_glibc", lambda: (2, 36))
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(doctor, "_bytecode", lambda: doctor.Finding("bytecode", doctor.FINE, "all"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 50e9}))
    monkeypatch.setenv("RECOMMENDER_DATASETS", str(tmp_path / "cache"))
    return installed


def examine(tmp_path):
    config = Config.model_validate(
        {"name": "shop", "output": tmp_path / "output", "data": {"interactions": {"path": "log.csv"}}}
    )
    outcome = doctor.run_doctor(lambda: config)
    text = io.StringIO()
    outcome.show(Console(file=text, width=80))
    return outcome.exit_code, text.getvalue()


def row(report, name):
    return next(line for line in report.splitlines() if re.split("  +", line)[0] == name)


def test_a_healthy_installation(healthy, tmp_path):
    code, report = examine(tmp_path)
    assert code == 0
    assert "nothing that the pipeline needs is broken" in report
    assert "TFX 1.16: glibc is older than the 2.39 that TFX 1.21 needs" in row(report, "track")
    assert "all 2 modules" in row(report, "imports")
    assert "1 installed, all as locked" in row(report, "other packages")
    assert not (tmp_path / "output").exists()  # looking writes nothing


def test_facts_are_the_findings(healthy):
    outcome = doctor.run_doctor(wrong_config)
    assert (outcome.exit_code, outcome.facts["broken"]) == (0, [])
    assert outcome.facts["findings"][0]["name"] == "Python"
    found = {finding["name"]: finding for finding in outcome.facts["findings"]}
    assert found["config"] == {
        "name": "config",
        "state": "hint",
        "found": "shop.yaml: the config is wrong: seed: missing",
        "fix": "mend it, or name another by --config",
    }


def wrong_config():
    raise InputError("shop.yaml: the config is wrong:\n  seed: missing")


def test_a_missing_package_is_broken(healthy, tmp_path):
    del healthy["tensorflow-recommenders"]
    code, report = examine(tmp_path)
    assert code == 1
    assert "not installed" in row(report, "tensorflow-recommenders")
    assert "make setup" in row(report, "tensorflow-recommenders")
    assert "broken: tensorflow-recommenders" in report


def test_without_tfx_the_track_is_the_one_that_the_system_would_get(healthy, monkeypatch, tmp_path):
    del healthy["tfx"]
    monkeypatch.setattr(doctor, "_glibc", lambda: (2, 39))
    code, report = examine(tmp_path)
    assert code == 1
    assert "TFX 1.21 (not installed): glibc reaches the 2.39" in row(report, "track")


def test_the_older_track_on_a_newer_system_is_a_hint(healthy, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_glibc", lambda: (2, 41))
    code, report = examine(tmp_path)
    assert code == 0
    assert "hint" in row(report, "track")
    assert "TFX 1.16, where TFX 1.21 fits" in row(report, "track")


def test_another_system_is_broken(healthy, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    code, report = examine(tmp_path)
    assert code == 1
    assert "Linux x86_64 with glibc only" in row(report, "system")


def test_versions_that_were_not_tested_are_hints(healthy, tmp_path):
    healthy.update({"tfx": "1.16.9", "rich": "0.1"})
    code, report = examine(tmp_path)
    assert code == 0
    assert "1.16.9, where 1.16.0 was tested" in row(report, "tfx")
    assert f"rich 0.1, locked {metadata.version('rich')}" in row(report, "other packages")


def test_a_broken_import_is_found_and_broken(healthy, monkeypatch, tmp_path):
    package = tmp_path / "modules" / "outer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("try:\n    from outer import inner\nexcept ImportError:\n    inner = None\n")
    (package / "inner.py").write_text("import no_such_module\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr(doctor, "MODULES", ("json", "outer", "outer.inner"))
    code, report = examine(tmp_path)
    assert code == 1
    assert "ModuleNotFoundError: No module named 'no_such_module'" in row(report, "import outer.inner")
    assert "import outer " not in report  # it hides the failure, as tfx.components does


@pytest.mark.slow
@pytest.mark.smoke
def test_modules_that_crash_hang_or_exit_are_told_apart_and_the_rest_is_tried(monkeypatch, tmp_path):
    (tmp_path / "crashes.py").write_text("import os\nos._exit(11)\n")
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit('go away')\n")
    (tmp_path / "lacks.py").write_text("raise ImportError('libfoo.so.1: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    failed = doctor.failed_imports(("json", "crashes", "hangs", "email", "leaves", "lacks"), timeout_s=3)
    assert failed == {
        "crashes": "ended the process with code 11",
        "hangs": "no answer within 3 s",
        "leaves": "SystemExit: go away",
        "lacks": "ImportError: libfoo.so.1: cannot open shared object file",
    }
    assert doctor._fix_of_import(failed["lacks"]) == "install the system library libfoo.so.1"


def test_an_output_folder_that_cannot_be_written_is_broken(healthy, monkeypatch, tmp_path):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    code, report = examine(tmp_path)
    assert code == 1
    assert f"{tmp_path}: Permission denied" in row(report, "output folder")


@pytest.mark.parametrize(("free", "state", "code"), [(4e8, "broken", 1), (4e9, "hint", 0), (6e9, "fine", 0)])
def test_disk_space(healthy, monkeypatch, tmp_path, free, state, code):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    result, report = examine(tmp_path)
    assert result == code
    assert state in row(report, "disk")


def test_a_damaged_data_set_is_a_hint(healthy, tmp_path):
    folder = tmp_path / "cache" / "movielens-100k"
    folder.mkdir(parents=True)
    for name in datasets.DATASETS["movielens-100k"].files:
        (folder / name).write_text("half")
    code, report = examine(tmp_path)
    assert code == 0
    assert "damaged: interactions.csv, items.csv, users.csv" in row(report, "movielens-100k")


def test_bytecode_that_is_missing_is_a_hint(monkeypatch, tmp_path):
    (tmp_path / "tfx").mkdir()
    (tmp_path / "tfx" / "__init__.py").write_text("")
    spec = type("Spec", (), {"origin": str(tmp_path / "tfx" / "__init__.py")})
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec if name == "tfx" else None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    finding = doctor._bytecode()
    assert finding.state == doctor.HINT
    assert finding.found.startswith("0 of 1 modules")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(tmp_path)], check=True)
    assert doctor._bytecode().state == doctor.FINE
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert doctor._bytecode().fix == "unset PYTHONDONTWRITEBYTECODE"


def test_the_lock_files_are_read_with_all_versions_of_a_package():
    versions = doctor._locked_versions("1.21")
    assert versions["tfx"] == {"1.21.0"}
    assert len(versions["google-apitools"]) == 2  # one for each Python
    assert doctor._locked_versions("0.1") == {}


def test_the_set_up_script_and_the_doctor_know_the_same_tracks():
    newer, older = load_setup_env().TRACKS
    assert (newer.name, older.name, newer.min_glibc) == (
        doctor.NEWER_TRACK,
        doctor.OLDER_TRACK,
        doctor.NEWER_GLIBC,
    )


@pytest.mark.slow
@pytest.mark.smoke
def test_importing_the_doctor_imports_nothing_heavy():
    program = (
        "import json, sys, pipeline.local.doctor;"
        "print(json.dumps(sorted({'tensorflow', 'tfx', 'apache_beam', 'numpy', 'pyarrow'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True)
    assert json.loads(done.stdout) == []


@pytest.mark.slow
@pytest.mark.smoke
def test_this_installation_is_whole():
    assert doctor.failed_imports(doctor.MODULES) == {}
