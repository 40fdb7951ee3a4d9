"""Keys of the config from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import Config, load_config
from pipeline.config.environment import check, keys, variable
from tests.pipeline.config.test_config import MINIMAL, config_file


def test_a_variable_is_a_key_in_capitals_with_two_underscores_for_a_dot(tmp_path: Path) -> None:
    environ = {
        "RECOMMENDER_SEED": "7",
        "RECOMMENDER_CACHE": "false",
        "RECOMMENDER_MODEL__QUERY_LAYERS": "[8, 4]",
        "RECOMMENDER_SERVING__TLS__CA": "ca.pem",
        "RECOMMENDER_EVALUATION__THRESHOLDS": "{hit_rate@10: {min: 0.25}}",
        "HOME": "/home/somebody",
    }
    config = load_config(config_file(tmp_path, MINIMAL), environ=environ)
    assert (config.seed, config.cache, config.model.query_layers) == (7, False, (8, 4))
    assert config.serving.tls is not None
    assert config.serving.tls.ca == "ca.pem"
    assert config.evaluation.thresholds["hit_rate@10"].min == 0.25


def test_files_then_the_environment_then_changes(tmp_path: Path) -> None:
    path = config_file(tmp_path, MINIMAL + "model: {dim: 1, dropout: 0.1}\nseed: 1\noutput: a\n")
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("model: {dim: 2, dropout: 0.2}\nseed: 2\noutput: b\n")
    second.write_text("model: {dim: 3}\nseed: 3\n")
    environ = {"RECOMMENDER_SEED": "4", "RECOMMENDER_MODEL__DIM": "4"}
    config = load_config(path, ("model.dim=5",), (first, second), environ)
    assert (config.model.dim, config.seed) == (5, 4), "by the change, by the environment"
    assert (config.model.dropout, str(config.output)) == (0.2, "b"), "by the first file of overrides"
    assert load_config(path, (), (first, second)).model.dim == 3, "by the second"
    assert load_config(path, (), (second, first)).model.dim == 2, "in their order"


def test_a_part_as_a_whole_comes_before_its_keys(tmp_path: Path) -> None:
    environ = {"RECOMMENDER_MODEL__DIM": "4", "RECOMMENDER_MODEL": "{dim: 3, dropout: 0.5}"}
    config = load_config(config_file(tmp_path, MINIMAL + "model: {id_dropout: 0.1}\n"), environ=environ)
    assert (config.model.dim, config.model.dropout, config.model.id_dropout) == (4, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "MODEL__DIMM",
            "3",
            "RECOMMENDER_MODEL__DIMM: names no key of the config; did you mean RECOMMENDER_MODEL__DIM",
        ),
        ("CONFG", "a.yaml", "did you mean RECOMMENDER_CONFIG"),
        ("XYZ", "3", r"RECOMMENDER_XYZ: names no key of the config \(nor is it RECOMMENDER_ARTIFACTS_ROOT, "),
        (
            "DATA__INTERACTIONS__EVENT_WEIGHTS__BUY",
            "3",
            "; data.interactions.event_weights is set as a whole, in YAML, by RECOMMENDER_DATA__INTERACTIONS__EVENT",
        ),
        ("NAME__OF", "3", "; name is set as a whole, in YAML, by RECOMMENDER_NAME"),
        ("MODEL__DIM", "[", "RECOMMENDER_MODEL__DIM: the value is not valid YAML"),
        (
            "MODEL__DIM",
            "0",
            r"(?s)config.yaml with RECOMMENDER_MODEL__DIM: the config is wrong:.*model.dim: Input should",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, value: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_config(config_file(tmp_path, MINIMAL), environ={f"RECOMMENDER_{name}": value})


def test_variables_of_others_with_the_prefix_are_left_alone(tmp_path: Path) -> None:
    environ = {
        # What `kubeflow/` sets, and what this command line reads itself.
        "RECOMMENDER_ARTIFACTS_ROOT": "/a",
        "RECOMMENDER_REVISION": "f00",
        "RECOMMENDER_CONFIG": "a.yaml",
        "RECOMMENDER_OVERRIDES": "b.yaml",
        "RECOMMENDER_DATASETS": "/d",
        "RECOMMENDER_CACHE": "/formerly the folder of the data sets",
        # What Kubernetes tells pods beside the Service `recommender-rest`.
        "RECOMMENDER_REST_SERVICE_HOST": "10.0.0.1",
        "RECOMMENDER_REST_SERVICE_PORT": "8501",
        "RECOMMENDER_REST_SERVICE_PORT_REST": "8501",
        "RECOMMENDER_REST_PORT": "tcp://10.0.0.1:8501",
        "RECOMMENDER_REST_PORT_8501_TCP": "tcp://10.0.0.1:8501",
        "RECOMMENDER_REST_PORT_8501_TCP_PROTO": "tcp",
        "RECOMMENDER_REST_PORT_8501_TCP_PORT": "8501",
        "RECOMMENDER_REST_PORT_8501_TCP_ADDR": "10.0.0.1",
    }
    assert load_config(config_file(tmp_path, MINIMAL), environ=environ).cache
    with pytest.raises(InputError, match="RECOMMENDER_SERVINGS__PORT: names no key"):
        check(Config, {"RECOMMENDER_SERVINGS__PORT": "1"}, ())


def test_the_variable_of_the_password_may_have_any_name(tmp_path: Path) -> None:
    environ = {"RECOMMENDER_METADATA_PASSWORD": "secret"}
    named = "metadata: {backend: mysql, host: h, database: d, user: u, password_env: RECOMMENDER_METADATA_PASSWORD}\n"
    assert load_config(config_file(tmp_path, MINIMAL + named), environ=environ).metadata.host == "h"
    with pytest.raises(InputError, match="RECOMMENDER_METADATA_PASSWORD: names no key"):
        load_config(config_file(tmp_path, MINIMAL), environ=environ)


def test_every_key_has_a_variable_of_its_own() -> None:
    known = keys(Config)
    assert {
        "name",
        "model.dim",
        "data.interactions.users.path",
        "serving.tls.ca",
        "kubeflow.defaults.cpu.limit",
    } <= set(known)
    assert len({variable(key) for key in known}) == len(known) > 200
