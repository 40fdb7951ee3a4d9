"""What is noted on artifacts."""

from __future__ import annotations

from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components.artifacts import describe_examples


def test_examples_say_how_they_are_read() -> None:
    examples = standard_artifacts.Examples()
    describe_examples(examples, "3 rows")
    payload = example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    assert examples_utils.get_payload_format(examples) == payload
    assert examples_utils.get_file_format(examples) == "tfrecords_gzip"
    assert examples.get_string_custom_property("summary") == "3 rows"
