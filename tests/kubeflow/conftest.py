"""The stand-in of Kubeflow Pipelines, and a place for the artifacts of a node."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubeflow.kfp_api import KfpApi


@pytest.fixture
def api(no_credentials: None) -> Iterator[KfpApi]:
    """An empty Kubeflow Pipelines."""
    with KfpApi() as server:
        yield server


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, hosts or kubectl contexts of this machine."""
    from kfp import client

    names = "ENDPOINT UI_ENDPOINT TOKEN COOKIE SA_TOKEN_PATH IAP_OAUTH2_CLIENT_ID DEFAULT_EXPERIMENT_NAME"
    for name in names.split():
        monkeypatch.delenv(f"KF_PIPELINES_{name}", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setattr(client.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "no-context.json"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder under which artifacts are, with one of an earlier node."""
    from kubeflow.artifacts import LOCAL_ROOT

    monkeypatch.setenv(LOCAL_ROOT, str(tmp_path))
    (tmp_path / "s3/b/examples").mkdir(parents=True)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own are wanted back
    monkeypatch.setattr(sys, "argv", ["node"])  # TFX reads flags from there too, and pytest's are not its
    return tmp_path
