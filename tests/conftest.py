"""What all tests need before TensorFlow is imported."""

import os

import pipeline  # noqa: F401 (chooses Keras 2)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
