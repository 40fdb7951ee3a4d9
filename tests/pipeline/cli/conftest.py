"""The stand-in of Kubeflow Pipelines, for the commands that ask it."""

from tests.kubeflow.conftest import api, no_credentials

__all__ = ["api", "no_credentials"]
