"""Artifacts on their way to KFP and back: where they are, and that nothing of what is known of them gets lost."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.components.util import model_utils
from tfx.types import standard_artifacts

from components.errors import InputError
from kubeflow.artifacts import LOCAL_ROOT, local_path, output_paths, path_of, to_kfp, to_tfx


def stored(metadata):
    """What KFP's metadata store gives back of an artifact's metadata: numbers are floats, lists and objects wrapped."""
    result = {"display_name": "model", "store_session_info": "null"}
    for key, value in json.loads(json.dumps(metadata, allow_nan=False)).items():
        wrapped = (
            {"list": value} if isinstance(value, list) else {"struct": value} if isinstance(value, dict) else value
        )
        result[key] = float(wrapped) if isinstance(wrapped, (int, float)) else wrapped
    return result


def back(artifact, kind):
    """An artifact after its way through KFP."""
    written = to_kfp(artifact, {"name": "model", "uri": "s3://b/model", "type": {"schemaTitle": "system.Model"}}, {})
    assert set(written) == {"name", "uri", "metadata"}
    return to_tfx({"name": "7", "uri": "s3://b/model", "type": None, "metadata": stored(written["metadata"])}, kind)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://bucket/a/b", "/gcs/bucket/a/b"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("minio://mlpipeline/v2/artifacts/x", "/minio/mlpipeline/v2/artifacts/x"),
        ("/tmp/kfp/outputs/file", "/tmp/kfp/outputs/file"),
    ],
)
def test_paths_are_those_of_kfps_launcher(uri, path, monkeypatch):
    assert local_path(uri) == path
    monkeypatch.setenv(LOCAL_ROOT, "/elsewhere")
    assert local_path(uri) == "/elsewhere" + path


def test_other_stores_are_refused():
    with pytest.raises(InputError, match=r"hdfs://x: Kubeflow's launcher brings nothing from there"):
        local_path("hdfs://x")


def test_a_custom_path_counts_more_than_the_uri():
    assert path_of({"uri": "s3://b/x", "customPath": "/kfp-workspace/x"}) == "/kfp-workspace/x"


def test_the_file_about_the_outputs_comes_last():
    names = ("m", "executor-logs")  # the launcher holds its logs open
    artifacts = {name: {"artifacts": [{"uri": f"s3://b/{name}"}]} for name in names}
    outputs = {"artifacts": {**artifacts, "none": {}}, "outputFile": "/s3/b/out.json"}
    assert output_paths({"outputs": outputs}) == ["/s3/b/m", "/s3/b/out.json"]


numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.slow
@pytest.mark.smoke
@given(st.dictionaries(st.text(min_size=1), st.one_of(st.text(), numbers)))
def test_custom_properties_come_back(properties):
    properties.pop("display_name", None)
    properties.pop("store_session_info", None)
    artifact = standard_artifacts.Model()
    for key, value in properties.items():
        if isinstance(value, str):
            artifact.set_string_custom_property(key, value)
        elif isinstance(value, int):
            artifact.set_int_custom_property(key, value)
        else:
            artifact.set_float_custom_property(key, value)
    result = back(artifact, standard_artifacts.Model)
    assert (result.id, result.uri) == (7, "/s3/b/model")
    for key, value in properties.items():
        if isinstance(value, str):
            assert result.get_string_custom_property(key) == value
        elif isinstance(value, int):
            assert result.get_int_custom_property(key) == value
        else:
            assert result.get_float_custom_property(key) == value


def test_properties_of_the_type_keep_their_type():
    examples = standard_artifacts.Examples()
    examples.split_names, examples.span, examples.version = '["train", "eval"]', 3, 1
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    result = back(examples, standard_artifacts.Examples)
    assert (result.split_names, result.span, result.version) == ('["train", "eval"]', 3, 1)
    assert result.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"


def test_a_blessing_is_still_one():
    blessing = standard_artifacts.ModelBlessing()
    blessing.set_int_custom_property("blessed", 1)
    assert model_utils.is_model_blessed(back(blessing, standard_artifacts.ModelBlessing))
    blessing.set_int_custom_property("blessed", 0)
    assert not model_utils.is_model_blessed(back(blessing, standard_artifacts.ModelBlessing))


def test_lists_and_objects_come_back():
    model = standard_artifacts.Model()
    model.set_json_value_custom_property("some", {"a": [1.5, "x"]})
    model.set_json_value_custom_property("more", ["x"])
    result = back(model, standard_artifacts.Model)
    assert result.get_json_value_custom_property("some") == {"a": [1.5, "x"]}
    assert result.get_json_value_custom_property("more") == ["x"]


def test_what_json_cannot_say_is_left_out_and_paths_become_uris():
    model = standard_artifacts.Model()
    model.set_float_custom_property("nan", math.nan)
    model.set_float_custom_property("inf", math.inf)
    model.set_string_custom_property("from", "/s3/b/other")
    written = to_kfp(model, {"uri": "s3://b/model"}, {"/s3/b/other": "s3://b/other"})
    assert written["metadata"] == {"from": "s3://b/other"}
