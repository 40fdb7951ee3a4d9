"""The pipeline: config, DAG, local runner, command line, and the modules that Transform and Trainer load."""

import os

import components  # noqa: F401  first: it tells NumPy and SciPy which kernels to take

__version__ = "0.3.0"

# TensorFlow Recommenders needs Keras 2, and TensorFlow reads this once, when it is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
