"""The server's flags: tensorflow_model_server's spelling, both forms, no unknown ones."""

from __future__ import annotations

import pytest

from serving.server import flags


def test_both_forms_and_defaults():
    parsed = flags.parse(["--port=9", "--rest_api_port", "10", "--model_name", "m", "--model_base_path=/models/m"])
    assert (parsed.port, parsed.rest_api_port, parsed.model_name, parsed.model_base_path) == (9, 10, "m", "/models/m")
    assert (parsed.host, parsed.file_system_poll_wait_seconds) == ("127.0.0.1", 1.0)
    assert flags.parse(["--model_base_path", "x"]).rest_api_port is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--model_base_path"),
        (["--model_base_path=x", "--enable_teleport"], "unrecognized arguments: --enable_teleport"),
        (["--model_base_path=x", "--rest_api=1"], "unrecognized arguments: --rest_api=1"),
        (["--model_base_path=x", "--port=70000"], "70000 is not a port"),
        (["--model_base_path=x", "--port=http"], "invalid"),
        (["--model_base_path=x", "--port=5", "--rest_api_port=5"], "both 5"),
        (["--model_base_path=x", "--file_system_poll_wait_seconds=-1"], "below 0"),
        (["--model_base_path=x", "--grpc_max_threads=0"], "below 1"),
        (["--model_base_path=x", "--model_name="], "--model_name is empty"),
        (["--model_base_path=x", "stray"], "stray"),
    ],
)
def test_wrong_flags(arguments, text, capsys):
    with pytest.raises(SystemExit) as end:
        flags.parse(arguments)
    assert end.value.code == 2
    assert text in capsys.readouterr().err
