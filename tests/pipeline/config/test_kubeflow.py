"""Quantities and durations as Kubernetes and people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.kubeflow import KubeflowSettings, quantity, seconds


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", 2), ("1.5", 1.5), ("500m", 0.5), ("4Gi", 4 * 2**30), ("4G", 4e9), ("128974", 128974)],
)
def test_quantities(text, number):
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "4GB", "4 Gi", "-1", "Gi", "1e3", ".5", "4gi", "٤"])
def test_what_is_no_quantity(text):
    with pytest.raises(ValueError, match="is no Kubernetes quantity"):
        quantity(text)


@given(st.integers(0, 10**6), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_durations(number, unit):
    assert seconds(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize("text", ["", "5", "m", "1.5h", "-1s", "5 m", "1w"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is no duration"):
        seconds(text)


def test_a_nodes_own_keys_count_more_than_the_defaults():
    settings = KubeflowSettings.model_validate(
        {"defaults": {"retries": 5, "timeout": "1h"}, "nodes": {"Trainer": {"retries": 0, "cpu": {"limit": 2}}}}
    )
    trainer, other = settings.node("Trainer"), settings.node("Indexer")
    assert (trainer.retries, trainer.timeout, trainer.cpu.limit) == (0, "1h", "2")
    assert (other.retries, other.timeout, other.cpu.limit) == (5, "1h", None)


def test_a_node_has_what_the_one_has_that_it_is_like() -> None:
    settings = KubeflowSettings.model_validate(
        {"nodes": {"Trainer": {"retries": 3, "cpu": {"limit": 2}}, "ShippedTrainer": {"retries": 5}}}
    )
    shipped = settings.node("ShippedTrainer")
    assert (shipped.retries, shipped.cpu) == (5, settings.node("Trainer").cpu)
