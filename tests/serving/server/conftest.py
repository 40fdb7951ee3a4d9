"""For tests that load models in their own process."""

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> None:
    """Closing a version collects garbage, which takes long where TensorFlow's modules are looked through each time."""
    gc.freeze()
