"""Champion's executor: the copy, and what it says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.champion.executor import Executor
from components.versions import publish, release
from tests.components.nodes import make_model


def _run_executor(candidate: Path, base: Path, output: Path, **driven: str) -> Any:
    model, champion, queries = standard_artifacts.Model(), standard_artifacts.Model(), standard_artifacts.Examples()
    model.uri, champion.uri, queries.uri = str(candidate), str(output), f"{output}-queries"
    output.mkdir()
    properties = {"base_path": str(base), "model_name": "m", **driven}
    Executor().Do({"model": [model]}, {"champion": [champion], "queries": [queries]}, properties)
    assert queries.split_names == '["eval"]'
    return champion


def test_without_a_champion_the_artifact_stays_empty(candidate: Path, tmp_path: Path) -> None:
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output")
    assert champion.get_string_custom_property("summary") == "none: first version"
    assert list((tmp_path / "output").iterdir()) == []
    assert not champion.has_custom_property("version")


@pytest.mark.parametrize("driven", [False, True])
def test_the_champion_is_copied(candidate: Path, tmp_path: Path, driven: bool) -> None:
    version = publish(make_model(tmp_path / "old", "old") / "Format-Serving", tmp_path / "base" / "m")
    properties = {"champion_version": str(version.number), "champion_fingerprint": "old"} if driven else {}
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output", **properties)
    copy = tmp_path / "output" / "Format-Serving"
    assert (copy / "saved_model.pb").read_bytes() == b"graph of old"
    assert (copy / "assets.extra" / "recommender.json").is_file()
    assert champion.get_string_custom_property("version") == str(version.number)
    assert champion.get_string_custom_property("fingerprint") == "old"
    assert champion.get_string_custom_property("summary") == f"version {version.number}"


def test_the_driver_s_find_counts_also_when_there_is_a_newer_one(candidate: Path, tmp_path: Path) -> None:
    publish(make_model(tmp_path / "late", "late") / "Format-Serving", tmp_path / "base" / "m")
    properties = {"champion_version": "", "champion_fingerprint": ""}
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output", **properties)
    assert champion.get_string_custom_property("summary") == "none: first version"


def test_the_champion_s_own_queries_stay_with_the_run_that_judges_by_them(candidate: Path, tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    for split in ("eval", "train"):
        (examples / f"Split-{split}").mkdir(parents=True)
        (examples / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz").write_text(split)
    _run_executor(candidate, tmp_path / "base", tmp_path / "output", champion_examples=str(examples))
    shutil.rmtree(examples)
    copied = [path for path in (tmp_path / "output-queries").rglob("*") if path.is_file()]
    assert [path.relative_to(tmp_path / "output-queries").parts for path in copied] == [
        ("Split-eval", "data_tfrecord-00000-of-00001.gz")
    ]
    assert copied[0].read_text() == "eval"
    _run_executor(candidate, tmp_path / "base", tmp_path / "second", champion_examples=str(examples))
    assert not (tmp_path / "second-queries").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_champion_that_has_seen_the_queries_is_stood_in_for(candidate: Path, tmp_path: Path, there: bool) -> None:
    shipped = make_model(tmp_path / "shipped", "shipped") / "Format-Serving"
    about = {"fingerprint": "shipped", "judged": "judged", "metrics": {"ndcg@10": 0.3}}
    version = publish(shipped, tmp_path / "base" / "m", about)
    judged = str(make_model(tmp_path / "judged", "judged")) if there else ""
    properties = {
        "champion_version": str(version.number),
        "champion_fingerprint": "shipped",
        "champion_judged": judged,
    }
    champion = _run_executor(candidate, tmp_path / "base", tmp_path / "output", **properties)
    copy = tmp_path / "output" / "Format-Serving"
    assert release(copy) == about, "what the version says of itself"
    summary = champion.get_string_custom_property("summary")
    if there:
        assert (copy / "saved_model.pb").read_bytes() == b"graph of judged"
        assert summary == f"version {version.number}, as it was judged: what it serves has seen the queries"
    else:
        assert not (copy / "saved_model.pb").exists()
        assert summary.startswith(f"version {version.number}, by its lead alone: it has seen the queries")
    assert champion.get_string_custom_property("version") == str(version.number)
