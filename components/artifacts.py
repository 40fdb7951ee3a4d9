"""What executors are given and give back."""

from __future__ import annotations

from tfx import types
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2

Artifacts = dict[str, list[types.Artifact]]
"""The inputs or outputs of an executor's `Do`, by name."""

NOT_SHIPPED = "nothing: the model that was judged is not blessed"
"""What nodes say that make the shipped model and have no reason to."""


def describe_examples(examples: types.Artifact, summary: str) -> None:
    """Notes on an artifact how its files are read (gzip TFRecords of tf.Examples), and a line for the terminal."""
    payload = example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE  # type: ignore[attr-defined]
    examples_utils.set_payload_format(examples, payload)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    examples.set_string_custom_property("summary", summary)
