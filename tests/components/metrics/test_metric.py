"""Nothing that belongs to a metric is forgotten."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from components import metrics
from components.evaluator.settings import EvaluatorSettings
from components.metrics import METRICS, Metric
from components.metrics.metric import Lists

FOLDER = Path(metrics.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(file.stem for file in FOLDER.glob("*.py") if "\nMETRIC = " in file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_with_a_metric_is_registered_and_tested(name: str) -> None:
    metric = importlib.import_module(f"{metrics.__name__}.{name}").METRIC
    assert METRICS.get(metric.name) is metric, f"add {name} to METRICS in {FOLDER / '__init__.py'}"
    assert (TESTS / f"test_{name}.py").is_file(), f"add {TESTS / f'test_{name}.py'}"


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_what_is_said_of_a_metric_fits_what_it_does(metric: Metric) -> None:
    settings = EvaluatorSettings()
    assert not metric.cutoffs or getattr(settings, metric.cutoffs), "the settings have no such cutoffs"
    measured = {**settings.ranking_metrics(), **settings.list_metrics()}
    assert metric.name in {kind for kind, _ in measured.values()}
    if metric.of == "rank":
        assert metric.compute(np.array([0, 5]), 3).shape == (2,)
    elif metric.of == "exposure":
        assert isinstance(metric.compute(np.array([1, 0, 2])), float)
    else:
        features = sparse.csr_array(np.eye(3))
        lists = Lists(np.array([[0, 1], [2, -1]]), np.array([3, 2, 1]), features, sparse.csr_array(np.eye(3)[:2]))
        assert metric.compute(lists).shape == (2,)
