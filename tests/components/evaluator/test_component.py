"""The Evaluator as a node."""

from __future__ import annotations

import json

from tfx.types import channel_utils, standard_artifacts

from components.evaluator.component import Evaluator
from components.evaluator.settings import EvaluatorSettings

SETTINGS = EvaluatorSettings(ks=(3,), thresholds={})


def test_the_component_carries_its_settings_as_json() -> None:
    model = channel_utils.as_channel([standard_artifacts.Model()])
    examples = channel_utils.as_channel([standard_artifacts.Examples()])
    data = {"examples": examples, "catalogue": examples}
    node = Evaluator(**data, model=model, item_features=["genres"], settings=SETTINGS)
    assert json.loads(node.exec_properties["item_features"]) == ["genres"]
    assert EvaluatorSettings.model_validate(json.loads(node.exec_properties["settings"])) == SETTINGS
    assert set(node.outputs) == {"evaluation", "blessing"}
    assert set(Evaluator(**data, model=model, champion=model).inputs) == {*data, "model", "champion"}
