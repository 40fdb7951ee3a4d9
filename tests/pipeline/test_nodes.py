"""The names of the nodes that are told without TFX are those of the DAG."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import load_config
from pipeline.nodes import NODES, check_node


@pytest.mark.slow
@pytest.mark.smoke
def test_they_are_those_of_the_dag() -> None:
    from pipeline.pipeline import Paths, create_pipeline

    config = load_config(Path(__file__).parents[2] / "configs" / "movielens_100k.yaml")
    dag = create_pipeline(config, Paths("artifacts", "models", "log.csv", "users.csv", "items.csv", "", ""))
    assert sorted(component.id for component in dag.components) == sorted(NODES)


def test_a_wrong_one_is_told_with_those_there_are() -> None:
    check_node(None, "--from")
    check_node("Trainer", "--from")
    with pytest.raises(
        InputError, match=r"--only train: there is no such node; did you mean Trainer\? The nodes are: Inte"
    ):
        check_node("train", "--only")
    with pytest.raises(
        InputError, match=r"--from x: there is no such node; the nodes are: InteractionGen, .*, Pusher$"
    ):
        check_node("x", "--from")
