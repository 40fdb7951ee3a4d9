"""The server's flags: tensorflow_model_server's spelling, both forms, no unknown ones."""

from __future__ import annotations

import re

import pytest

from serving.server import flags


def test_both_forms_and_defaults():
    parsed = flags.parse(["--port=9", "--rest_api_port", "10", "--model_name", "m", "--model_base_path=/models/m"])
    assert (parsed.port, parsed.rest_api_port, parsed.model_name, parsed.model_base_path) == (9, 10, "m", "/models/m")
    assert (parsed.host, parsed.file_system_poll_wait_seconds) == ("127.0.0.1", 1.0)
    defaults = flags.parse(["--model_base_path", "x"])
    assert defaults.rest_api_port is None
    assert (defaults.port, defaults.model_name, defaults.model_config_file_poll_wait_seconds) == (8500, "default", 0)
    assert (defaults.max_num_load_retries, defaults.load_retry_interval_micros) == (5, 60_000_000)
    assert (defaults.enable_model_warmup, defaults.enable_batching) == (True, False)
    assert flags.parse(["--model_config_file=c"]).model_base_path == ""


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], False),
        (["--enable_batching"], True),
        (["--enable_batching=true"], True),
        (["--enable_batching=false"], False),
    ],
)
def test_booleans(arguments, value):
    assert flags.parse(["--model_base_path=x", *arguments]).enable_batching is value
    assert flags.parse([*arguments, "--model_base_path=x"]).enable_batching is value


_ALL = """--port=8500 --grpc_socket_path=/tmp/s --rest_api_port=8501 --rest_api_num_threads=4 --rest_api_timeout_in_ms=1
    --rest_api_enable_cors_support --enable_batching --batching_parameters_file=b
    --allow_version_labels_for_unavailable_models --enable_per_model_batching_parameters --model_config_file=c
    --model_config_file_poll_wait_seconds=60 --model_name=m --model_base_path=x --num_load_threads=2
    --num_unload_threads=2 --max_num_load_retries=0 --load_retry_interval_micros=-1 --file_system_poll_wait_seconds=0
    --flush_filesystem_caches=false --tensorflow_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=1
    --ssl_config_file=s --grpc_max_threads=2 --grpc_channel_arguments=a=1 --enable_model_warmup=false
    --monitoring_config_file=m --enable_grpc_healthcheck_service"""


def test_the_spelling_is_tensorflow_model_servers():
    parsed = flags.parse(_ALL.split())
    assert (parsed.grpc_socket_path, parsed.enable_model_warmup, parsed.load_retry_interval_micros) == (
        "/tmp/s",
        False,
        -1,
    )


def test_channel_arguments():
    parsed = flags.parse(["--model_base_path=x", "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,a=-1,b=c=d"])
    assert parsed.grpc_channel_arguments == [("grpc.max_connection_age_ms", 2000), ("a", -1), ("b", "c=d")]


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        flags.parse(["--version"])
    assert end.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("TensorFlow ModelServer: ")
    assert re.fullmatch(r"TensorFlow Library: \d+\.\d+\.\d+\S*", second)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--model_base_path or --model_config_file is required"),
        (["--model_base_path=x", "--enable_teleport"], "unrecognized arguments: --enable_teleport"),
        (["--model_base_path=x", "--rest_api=1"], "unrecognized arguments: --rest_api=1"),
        (["--model_base_path=x", "--port=70000"], "70000 is not a port"),
        (["--model_base_path=x", "--port=http"], "invalid"),
        (["--model_base_path=x", "--port=5", "--rest_api_port=5"], "both 5"),
        (
            ["--model_base_path=x", "--port=0", "--admin_port=5", "--rest_api_port=5"],
            "--rest_api_port and --admin_port",
        ),
        (["--model_base_path=x", "--admin_ssl_config_file=s"], "only with --admin_port"),
        (["--model_base_path=x", "--admin_rest_api_port=5"], "needs --monitoring_config_file"),
        (["--model_base_path=x", "--file_system_poll_wait_seconds=-1"], "below 0"),
        (["--model_base_path=x", "--grpc_max_threads=0"], "below 1"),
        (["--model_base_path=x", "--model_name="], "--model_name is empty"),
        (["--model_base_path=x", "stray"], "stray"),
        (["--model_base_path=x", "--enable_batching=1"], "1 is neither true nor false"),
        (["--model_base_path=x", "--noenable_batching"], "unrecognized arguments: --noenable_batching"),
        (["--model_base_path=x", "--batching_parameters_file=b"], "only with --enable_batching"),
        (["--model_base_path=x", "--num_load_threads=-1"], "below 0"),
        (["--model_base_path=x", "--grpc_channel_arguments=a"], "a is not of the form key=value"),
        (
            [
                "--model_base_path=x",
                "--tensorflow_session_parallelism=1",
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            ],
            "can't be combined",
        ),
    ],
)
def test_wrong_flags(arguments, text, capsys):
    with pytest.raises(SystemExit) as end:
        flags.parse(arguments)
    assert end.value.code == 2
    assert text in capsys.readouterr().err


def test_flags_that_have_no_effect_here_are_taken_and_told():
    given = """--enable_serialization_as_tensor_content=true --saved_model_tags serve --xla_cpu_compilation_enabled
        --per_process_gpu_memory_fraction=0.5"""
    parsed = flags.parse(["--model_base_path=x", *given.split(), "--num_request_iterations_for_warmup=2"])
    assert parsed.without_effect == (
        "enable_serialization_as_tensor_content",
        "per_process_gpu_memory_fraction",
        "saved_model_tags",
        "xla_cpu_compilation_enabled",
    )
    assert parsed.num_request_iterations_for_warmup == 2
    assert flags.parse(["--model_base_path=x"]).without_effect == ()


def test_what_is_told_of_requests(capsys):
    parsed = flags.parse(["--model_base_path=x", "--log_format=json", "--log_level=error", "--access_log=0.01"])
    assert (parsed.log_format, parsed.log_level, parsed.access_log) == ("json", "error", 0.01)
    assert not parsed.enable_opentelemetry
    for wrong in ("1.5", "-1", "nan"):
        with pytest.raises(SystemExit):
            flags.parse(["--model_base_path=x", f"--access_log={wrong}"])
        assert f"argument --access_log: {wrong} is not from 0 to 1" in capsys.readouterr().err
