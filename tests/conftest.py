"""What all tests need before TensorFlow is imported."""

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

import pipeline  # noqa: F401 (chooses Keras 2)

pytest_plugins = ["tests.serving.fixtures"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(autouse=True)
def _leave_determinism_off() -> Iterator[None]:
    """A training in the process turns TensorFlow's determinism on, under which some ops refuse to run."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is not slow is part of the smoke suite; slow tests that are too are marked in their files."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.smoke)
