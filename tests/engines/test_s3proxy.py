"""What is tested with moto's server of S3's interface holds with S3Proxy too. See CONTRIBUTING.md."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.engines.java import asked_for, jars
from tests.kubeflow.walker import CHECKOUT

MODULES = (
    "tests/components/guards/test_last_pushed.py",
    "tests/components/test_object_store.py",
    "tests/components/test_stores.py",
    "tests/e2e/test_store.py",
    "tests/kubeflow/test_walk.py",
    "tests/pipeline/batch/test_run.py",
    "tests/pipeline/batch/vectors/test_run.py",
    "tests/pipeline/cli/test_promotion.py",
    "tests/pipeline/local/test_evaluate.py",
    "tests/pipeline/local/test_output.py",
    "tests/serving/promotion/test_promoter.py",
    "tests/serving/test_stores.py",
)
"""Those that start a server of S3."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@asked_for
@pytest.mark.parametrize("module", MODULES)
def test_what_holds_with_moto_holds_with_s3proxy(module: str) -> None:
    jars("s3proxy")  # or it is skipped
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "s3 or store or bucket or walk", module],
        cwd=CHECKOUT,
        env={**os.environ, "S3_SERVER": "s3proxy"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout
