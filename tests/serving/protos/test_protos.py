"""Our messages against TensorFlow's and TensorFlow Serving's own: the same on the wire."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.client import InvalidRequest
from serving.client import tensors as client_tensors
from serving.client.tensors import Tensor
from serving.protos import models_config_pb2, serving_pb2

pytestmark = pytest.mark.smoke


def originals():
    """Message name to the original's descriptor."""
    from tensorflow.core.example import example_pb2, feature_pb2
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2, status_pb2

    messages = [
        tensor_pb2.TensorProto,
        tensor_shape_pb2.TensorShapeProto,
        meta_graph_pb2.TensorInfo,
        meta_graph_pb2.SignatureDef,
        get_model_metadata_pb2.SignatureDefMap,
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
        model_pb2.ModelSpec,
        predict_pb2.PredictRequest,
        predict_pb2.PredictResponse,
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
        get_model_status_pb2.ModelVersionStatus,
        status_pb2.StatusProto,
        feature_pb2.BytesList,
        feature_pb2.FloatList,
        feature_pb2.Int64List,
        feature_pb2.Feature,
        feature_pb2.Features,
        example_pb2.Example,
    ]
    return {message.DESCRIPTOR.name: message.DESCRIPTOR for message in messages}


def wire_type(field: FieldDescriptor) -> int:
    """An enum and an int32 look alike on the wire."""
    return FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type


def is_repeated(field: FieldDescriptor) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return field.label == FieldDescriptor.LABEL_REPEATED if repeated is None else bool(repeated)


def test_fields_have_the_same_numbers_and_types():
    ours = serving_pb2.DESCRIPTOR.message_types_by_name
    for name, original in originals().items():
        for field in ours[name].fields:
            theirs = original.fields_by_name[field.name]
            assert (field.number, wire_type(field), is_repeated(field)) == (
                theirs.number,
                wire_type(theirs),
                is_repeated(theirs),
            ), f"{name}.{field.name}"


def test_models_config_is_tensorflow_servings():
    from tensorflow_serving.config import model_server_config_pb2 as original

    # All fields, for what promotion reads of other models it writes back.
    def fields(descriptor):
        return {
            field.name: (
                field.number,
                wire_type(field),
                is_repeated(field),
                field.message_type and fields(field.message_type) if not field.name.startswith("custom_") else None,
            )
            for field in descriptor.fields
        }

    ours, theirs = fields(models_config_pb2.ModelServerConfig.DESCRIPTOR), fields(original.ModelServerConfig.DESCRIPTOR)
    logging = theirs["model_config_list"][3]["config"][3]["logging_config"][3]
    logging.setdefault("custom_logging_config", (3, FieldDescriptor.TYPE_MESSAGE, False, None))  # in newer ones
    assert ours == theirs
    assert dict(models_config_pb2.ModelType.items()) == dict(original.ModelType.items())
    text = """model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow"
        model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 }
        logging_config { sampling_config { sampling_rate: 0.5 } } } }"""
    ours = text_format.Parse(text, models_config_pb2.ModelServerConfig())
    theirs = text_format.Parse(text, original.ModelServerConfig())
    assert text_format.MessageToString(ours) == text_format.MessageToString(theirs)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_enums_have_the_same_numbers():
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import get_model_status_pb2

    for name, number in serving_pb2.DataType.items():
        assert types_pb2.DataType.Value(name) == number
    theirs = get_model_status_pb2.ModelVersionStatus.State
    assert dict(serving_pb2.ModelVersionStatus.State.items()) == dict(theirs.items())


@pytest.mark.slow
@pytest.mark.smoke
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        elements=None,
    )
)
def test_tensors_pass_to_tensorflow_and_back(array):
    from tensorflow.core.framework import tensor_pb2

    from serving.server import tensors as server_tensors

    message = serving_pb2.TensorProto()
    client_tensors.to_proto(Tensor(array.dtype.name, array.shape, array.ravel().tolist()), message)
    arrived = server_tensors.to_array(tensor_pb2.TensorProto.FromString(message.SerializeToString()), "x")
    np.testing.assert_array_equal(arrived, array)
    assert arrived.dtype == array.dtype
    answer = tensor_pb2.TensorProto()
    server_tensors.to_proto(arrived, answer)
    back = client_tensors.from_proto(serving_pb2.TensorProto.FromString(answer.SerializeToString()))
    np.testing.assert_array_equal(np.array(back.values, array.dtype).reshape(back.shape), array)


@pytest.mark.slow
@pytest.mark.smoke
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_strings_pass_to_tensorflow_and_back(texts):
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    from serving.server import tensors as server_tensors

    message = serving_pb2.TensorProto()
    client_tensors.to_proto(Tensor("string", (len(texts),), texts), message)
    arrived = server_tensors.to_array(tensor_pb2.TensorProto.FromString(message.SerializeToString()), "x")
    assert [value.decode() for value in arrived] == texts
    back = serving_pb2.TensorProto.FromString(tf.make_tensor_proto(texts, tf.string, [len(texts)]).SerializeToString())
    assert list(client_tensors.from_proto(back).values) == texts


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("float16", (), [1.0]),
        Tensor("int32", (), [1 << 40]),
        Tensor("int32", (), ["1"]),
        Tensor("string", (), [1]),
    ],
)
def test_values_of_another_type_are_refused(tensor):
    with pytest.raises(InvalidRequest):
        client_tensors.to_proto(tensor, serving_pb2.TensorProto())
