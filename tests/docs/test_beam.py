"""docs/beam.md: its configs are configs, and Beam knows each of their options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, SetupOptions, StandardOptions
from apache_beam.transforms.environments import Environment

from pipeline.beam_args import WORKERS_CODE, beam_args
from pipeline.config import load_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "beam.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml (\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CONFIG = ROOT / "configs" / "movielens_100k.yaml"


def arguments(example: str, folder: Path) -> list[str]:
    """What an example, laid over a config, gives to Beam."""
    path = folder / "beam.yaml"
    path.write_text(example)
    return beam_args(load_config(CONFIG, (), [path]).beam.pipeline_args)


def unknown(given: list[str]) -> list[str]:
    """The options that Beam would drop."""
    options = PipelineOptions(given)
    kept = options.get_all_options(drop_default=False, retain_unknown_options=True)
    return sorted(kept.keys() - options.get_all_options(drop_default=False).keys())


def test_all_engines_are_there():
    assert {engine for engine, _ in EXAMPLES} == {"local", "flink", "spark", "dataflow"}


def test_an_unknown_option_would_be_found():
    assert unknown(["--runner=FlinkRunner", "--flink_mister=a:1"]) == ["flink_mister"]


@pytest.mark.parametrize(("engine", "example"), EXAMPLES, ids=[engine for engine, _ in EXAMPLES])
def test_beam_knows_each_option(engine, example, tmp_path):
    given = arguments(example, tmp_path)
    assert unknown(given) == []
    assert all(argument.startswith("--") for argument in given)
    # The value of each came where it was meant.
    set_ = PipelineOptions(given).get_all_options(drop_default=True)
    names = {argument[2:].split("=")[0] for argument in yaml.safe_load(example)["beam"]["pipeline_args"]}
    assert names <= set_.keys()


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize(("engine", "example"), EXAMPLES, ids=[engine for engine, _ in EXAMPLES])
def test_workers_get_the_code(engine, example, tmp_path):
    options = PipelineOptions(arguments(example, tmp_path))
    assert any(WORKERS_CODE.match(argument) for argument in arguments(example, tmp_path))
    if engine != "dataflow":
        without_code = [argument for argument in arguments(example, tmp_path) if "--setup_file" not in argument]
        environment = Environment.from_options(PipelineOptions(without_code).view_as(PortableOptions))
        assert environment.to_runner_api(None).urn
        # Five minutes are too short for any job worth an engine.
        assert options.view_as(PortableOptions).job_server_timeout > 86_400
    assert options.view_as(StandardOptions).runner
    setup = options.view_as(SetupOptions).setup_file
    assert setup is None or Path(setup).name == "setup.py"


def test_what_the_page_names_exists():
    for path in re.findall(r"(?:tests|requirements|configs)/[\w/.-]+\.\w+", TEXT):
        assert (ROOT / path).exists(), path
    image = (ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")
    [version] = re.findall(r"^apache-beam==([\d.]+)", image, re.MULTILINE)
    assert set(re.findall(r"apache/beam_\w[\w.]*:([\d.]+\d)", TEXT)) == {version}
    [python] = re.findall(r"^ARG PYTHON_IMAGE=python:([\d.]+)-", (ROOT / "kubeflow/image/Dockerfile").read_text(), re.M)
    assert re.findall(r"beam_python([\d.]+)_sdk", TEXT) == [python]
