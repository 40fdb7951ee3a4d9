"""Beam's options: what is added to the config's."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.beam_args import beam_args, check_beam

SETUP = f"--setup_file={Path(__file__).parents[2] / 'setup.py'}"
WEEK = "--job_server_timeout=604800"


@pytest.mark.parametrize(
    ("configured", "added"),
    [
        (("--runner=FnApiRunner",), [SETUP]),
        (("--runner=DataflowRunner", "--sdk_container_image=ghcr.io/you/beam:1"), []),
        (("--runner=DataflowRunner", "--setup_file=/elsewhere/setup.py"), []),
        (("--runner=PortableRunner", "--job_endpoint=localhost:8099"), [SETUP, WEEK]),
        (("--runner", "FlinkRunner", "--sdk_container_image=i"), [WEEK]),
        (("--runner=flink", "--sdk_container_image=i"), [WEEK]),
        (("--runner=flink", "--environment_type=DOCKER", "--environment_config=i"), ["--sdk_container_image=i", WEEK]),
        (("--runner=flink", "--environment_config", "i:1"), ["--sdk_container_image=i:1", WEEK]),
        (("--runner=flink", "--environment_type=EXTERNAL", "--environment_config=host:5000"), [SETUP, WEEK]),
        (("--job_name=x --runner=FlinkRunner", "--sdk_container_image=i"), []),
        (("--runner=apache_beam.runners.portability.spark_runner.SparkRunner", "--setup_file=s"), [WEEK]),
        (("--runner=PortableRunner", "--setup_file=s", "--job_server_timeout=60"), []),
        (("--runner=PortableRunner", "--setup_file=s", "--job-server-timeout=60"), []),
    ],
)
def test_what_is_added(configured, added):
    assert beam_args(configured) == [*configured, *added]


@pytest.mark.parametrize("form", ["--job_endpoint={}", "--job_endpoint {}"])
def test_a_job_service_that_answers_or_not(form):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        check_beam(form.format(address).split())
    with pytest.raises(InputError, match=rf"no job service answers at {address}.*Connection refused; start it"):
        check_beam(form.format(address).split())


@pytest.mark.parametrize("endpoint", ["8099", "localhost:", "localhost:http"])
def test_an_endpoint_that_is_none(endpoint):
    with pytest.raises(InputError, match="expected host:port"):
        check_beam([f"--job_endpoint={endpoint}"])


@pytest.mark.parametrize("arguments", [[], ["--runner=FnApiRunner"], ["--job_endpoint=embed"]])
def test_nothing_to_check(arguments):
    check_beam(arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--direct_num_wrokers=2"],
            "'--direct_num_wrokers=2': Beam has no such option; did you mean --direct_num_workers?",
        ),
        (
            ["--direct-num-workers=2"],
            "'--direct-num-workers=2': Beam has no such option; did you mean --direct_num_workers?",
        ),
        (["runner=DirectRunner"], "'runner=DirectRunner': Beam has no such option; did you mean --runner?"),
        (["--direct_num_workers", "2", "3"], "'3': Beam has no such option"),
        (["--no_auth=true"], "argument --no_auth: ignored explicit argument 'true'"),
        (["--direct_num_workers=two"], "argument --direct_num_workers: invalid int value: 'two'"),
        (["--help"], "--help is not for a run"),
        (["--job_endpoint="], "--job_endpoint '': expected host:port"),
    ],
)
def test_what_beam_would_drop_or_end_by(arguments, said):
    with pytest.raises(InputError) as error:
        check_beam(arguments)
    assert str(error.value) == f"beam.pipeline_args: {said}"


@pytest.mark.parametrize("runner", ["NoSuchRunner", "a.b.Runner"])
def test_a_runner_that_is_none(runner):
    with pytest.raises(InputError, match=r"beam.pipeline_args: --runner: "):
        check_beam([f"--runner={runner}"])


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_host_that_can_be_none(host):
    with pytest.raises(InputError, match="no job service answers at"):
        check_beam([f"--job_endpoint={host}:80"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runner=PortableRunner", "--job_endpoint=embed", "--of_the_service=1"],
        ["--runner=flink", "--of_the_service=1"],
        ["--runner", "DirectRunner", "", "--direct_num_workers=1", "--direct_num_workers=2"],
        ["--environment_config=x --job_endpoint=nowhere"],
        ["--job_endpoint=localhost:1", "--job_endpoint=embed"],
        ["--experiments=a", "--experiments=b", "--temp_location=gs://x/y", "--s3_endpoint_url=http://localhost:9000"],
    ],
)
def test_what_is_right(arguments):
    check_beam(arguments)
