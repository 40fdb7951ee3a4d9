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
from tests.engines.compose import block, compose
from tests.kubeflow.test_manifests import KUBERNETES, check

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "beam.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml (\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CONFIG = ROOT / "configs" / "movielens_100k.yaml"
ENGINES = ("flink", "spark")


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


@pytest.mark.parametrize("engine", ENGINES)
def test_a_compose_file_holds_together(engine):
    file = compose(engine)
    services = file["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= services.keys(), name
        assert service.get("network_mode", f"service:{name}").removeprefix("service:") in services, name
        folders = [mount.split(":")[0] for mount in service.get("volumes", ())]
        assert {folder for folder in folders if not folder.startswith("/")} <= file["volumes"].keys(), name
    [first, *_] = [example for name, example in EXAMPLES if name == engine]
    given = " ".join(yaml.safe_load(first)["beam"]["pipeline_args"])
    [host, port] = re.findall(r"--job_endpoint=(\S+):(\d+)", given)[0]
    assert (host in services, port) == (True, "8099"), "the job server's own port"
    assert f"--job-host={host}" in services[host]["command"], "else it listens on its own loopback"
    assert services["pipeline"]["entrypoint"][-1] == f"{engine}.yaml"
    # What is staged is read where it was written; artifacts lie where pipeline and workers both see them.
    assert services["workers-1"]["volumes"] == services["pipeline"]["volumes"]
    assert services["workers-2"]["image"] == services["pipeline"]["image"]


@pytest.mark.slow
@pytest.mark.parametrize("version", KUBERNETES)
def test_the_kubernetes_file_fits_the_schemas_and_says_what_compose_says(version):
    resources = [*yaml.safe_load_all(block("flink-kubernetes"))]
    for resource in resources:
        check(resource, version)
    services = compose("flink")["services"]
    containers = {
        container["name"]: container
        for resource in resources
        for container in resource.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
    }
    assert containers["job-server"]["args"] == services["job-server"]["command"]
    assert containers["pipeline"]["command"] == services["pipeline"]["entrypoint"]
    for name, service in (("job-server", "job-server"), ("workers", "workers-1"), ("taskmanager", "taskmanager-1")):
        assert containers[name]["image"] == services[service]["image"]
    flink = yaml.safe_load(compose("flink")["x-flink"]["environment"]["FLINK_PROPERTIES"])
    [config] = [resource for resource in resources if resource["kind"] == "ConfigMap"]
    assert flink.items() <= yaml.safe_load(config["data"]["FLINK_PROPERTIES"]).items()


def test_what_the_page_names_exists():
    for path in re.findall(r"(?:tests|requirements|configs)/[\w/.-]+\.\w+", TEXT):
        assert (ROOT / path).exists(), path
    image = (ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")
    [version] = re.findall(r"^apache-beam==([\d.]+)", image, re.MULTILINE)
    assert set(re.findall(r"apache/beam_\w[\w.]*:([\d.]+\d)", TEXT)) == {version}
    [python] = re.findall(r"^ARG PYTHON_IMAGE=python:([\d.]+)-", (ROOT / "kubeflow/image/Dockerfile").read_text(), re.M)
    assert re.findall(r"beam_python([\d.]+)_sdk", TEXT) == [python]
