"""A request's features (context) as a serialized tf.Example, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from numbers import Integral, Real
from typing import Any, Optional

from serving import contract
from serving.client.errors import InvalidRequest
from serving.client.rules import Rules
from serving.protos import serving_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


def serialize(context: Mapping[str, Any]) -> bytes:
    """Writes the context as a tf.Example.

    Args:
        context: the features by name, as `RecommenderClient.recommend` describes them.

    Returns:
        The serialized Example; empty if no feature has a value.

    Raises:
        InvalidRequest: a value that no feature can have.
    """
    example = _example(context)
    # Maps have no order of their own: the same context gives the same bytes.
    return example.SerializeToString(deterministic=True)


def serialize_query(
    user_id: str,
    history: Sequence[str],
    exclude: Sequence[str],
    context: Mapping[str, Any],
    rules: Rules,
    k: int,
    tasks: Optional[Sequence[tuple[str, float]]] = None,
    leave_out: Optional[str] = None,
) -> bytes:
    """Writes a whole query as a tf.Example: the context's features, `user_id`, `history`, `exclude`, `k` and the rules;
    and weights of tasks, and which of the user's items are left out, unless they are None.

    Raises:
        InvalidRequest: a value that no feature can have.
    """
    example = _example(context)
    feature = example.features.feature
    texts = {
        contract.USER_ID: [user_id] if user_id else [],
        contract.HISTORY: history,
        contract.EXCLUDE: exclude,
        contract.ALLOW: rules.allow,
        contract.FILTER: rules.filters,
        contract.BOOST: [condition for condition, _ in rules.boosts],
    }
    numbers = [contract.BOOST_BY, contract.DIVERSITY, contract.K]
    if tasks is not None:
        texts[contract.TASKS] = [name for name, _ in tasks]
        numbers.append(contract.TASK_WEIGHTS)
    if leave_out is not None:
        texts[contract.LEAVE_OUT] = [leave_out] if leave_out else []
    for name in (*texts, *numbers):
        feature[name].Clear()  # a context can't be in their way
    for name, values in texts.items():
        if values:  # an empty list is no missing one to TensorFlow
            feature[name].bytes_list.value.extend(value.encode() for value in values)
    feature[contract.K].int64_list.value.append(k)
    if rules.boosts:
        feature[contract.BOOST_BY].float_list.value.extend(by for _, by in rules.boosts)
    if tasks:
        feature[contract.TASK_WEIGHTS].float_list.value.extend(weight for _, weight in tasks)
    if rules.diversity is not None:
        feature[contract.DIVERSITY].float_list.value.append(rules.diversity)
    return example.SerializeToString(deterministic=True)


def _example(context: Mapping[str, Any]) -> serving_pb2.Example:
    if not isinstance(context, Mapping):
        raise InvalidRequest(f"context={context!r}: it is a dict of features by name, such as {{'device': 'ios'}}")
    example = serving_pb2.Example()
    for name, value in context.items():
        if not isinstance(name, str) or not _bytes("the name", name):
            raise InvalidRequest(f"context: {name!r} is no name of a feature")
        values = _values(value)
        if values:
            feature = example.features.feature[name]
            if name == contract.TIMESTAMP:  # the one feature of whole numbers
                feature.int64_list.value.append(_microseconds(values))
            elif isinstance(values[0], (str, bytes)):
                feature.bytes_list.value.extend(_bytes(name, v) for v in values)
            else:
                feature.float_list.value.extend(_float(name, v) for v in values)
    return example


def _values(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return [] if value is None else [value]
    return list(value)


def _microseconds(values: list[Any]) -> int:
    value = values[0]
    if len(values) == 1 and isinstance(value, datetime):
        # Without an offset it is UTC, as in the log.
        return ((value if value.tzinfo else value.replace(tzinfo=timezone.utc)) - _EPOCH) // timedelta(microseconds=1)
    if len(values) == 1 and isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < 1 << 63:
        return int(value)
    raise InvalidRequest(
        f"context: {contract.TIMESTAMP}={value!r}: it is one time, as a datetime or as whole microseconds since the"
        " epoch"
    )


def _bytes(name: str, value: Any) -> bytes:
    if not isinstance(value, (str, bytes)):
        raise _wrong_type(name, value)
    try:
        return value if isinstance(value, bytes) else value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"context: {name}={value!r} can't be written as UTF-8") from None


def _float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong_type(name, value)
    if not -_FLOAT32_MAX <= value <= _FLOAT32_MAX:  # type: ignore[operator]  # neither is a NaN
        raise InvalidRequest(f"context: {name}={value!r} is no number that a model can read; leave a missing one out")
    return float(value)


def _wrong_type(name: str, value: Any) -> InvalidRequest:
    kind = type(value).__name__
    return InvalidRequest(
        f"context: {name}={value!r} is a {kind}: a feature is a text, a number, or a list of texts or of numbers"
    )
