"""What all tests need before TensorFlow is imported."""

import os

import hypothesis
import pytest

import pipeline  # noqa: F401 (chooses Keras 2)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is not slow is part of the smoke suite; slow tests that are too are marked in their files."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.smoke)
