"""Trainer: what its executor hands to `run_fn` beside what TFX's does."""

from types import SimpleNamespace

import pytest
from tfx.components.trainer.executor import GenericExecutor
from tfx.types import standard_artifacts

from components.errors import InputError
from components.trainer.executor import Executor


@pytest.fixture
def fn_args(monkeypatch):
    def make(**properties):
        given = SimpleNamespace(custom_config={"training": {"epochs": 20}})
        monkeypatch.setattr(GenericExecutor, "_GetFnArgs", lambda *_: given)
        inputs = {}
        for name in ("examples", "catalogue", "catalogue_graph"):
            kind = standard_artifacts.TransformGraph if name.endswith("graph") else standard_artifacts.Examples
            inputs[name] = [kind()]
            inputs[name][0].uri = f"/{name}"
        return Executor()._GetFnArgs(inputs, {}, properties)

    return make


def test_run_fn_gets_both_tables(fn_args):
    made = fn_args()
    assert (made.examples, made.catalogue, made.catalogue_graph) == ("/examples", "/catalogue", "/catalogue_graph")
    assert made.custom_config == {"training": {"epochs": 20}}


def test_epochs_of_a_run_are_in_the_config(fn_args):
    assert fn_args(epochs=7).custom_config == {"training": {"epochs": 7}}
    with pytest.raises(InputError, match="epochs 0: at least one pass"):
        fn_args(epochs=0)
