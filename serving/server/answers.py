"""What the server answered, as records of the answer log: read from tensors in the thread that writes the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np

from serving import contract
from serving.client.answer_log import AnswerLog, record
from serving.protos import serving_pb2

LOGGED = frozenset(
    (
        contract.RECOMMEND,
        contract.RECOMMEND_IN_CONTEXT,
        contract.RECOMMEND_WITH_RULES,
        contract.RECOMMEND_FOR_TASKS,
        contract.RECOMMEND_LEAVING_OUT,
        contract.RECOMMEND_EXAMPLES,
        contract.RECOMMEND_EXAMPLES_FOR_TASKS,
        contract.RECOMMEND_EXAMPLES_LEAVING_OUT,
    )
)
"""The signatures whose answers are logged."""
_RULES = (
    contract.EXCLUDE,
    contract.ALLOW,
    contract.FILTER,
    contract.BOOST,
    contract.TASKS,
    contract.LEAVE_OUT,
)


def lists(outputs: Mapping[str, np.ndarray]) -> int:
    """Returns how many lists were answered."""
    return len(outputs.get(contract.ITEM_IDS, ()))


def records(
    log: AnswerLog,
    about: Mapping[str, Any],
    request_id: str,
    time_us: int,
    latency_s: float,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
) -> Iterator[dict[str, Any]]:
    """Yields a record for each row of a request.

    Args:
        log: Where they go.
        about: `model`, `label` and `version`, as `observer.Request.about` has them.
        request_id: The request's.
        time_us: When it came, in microseconds since the epoch.
        latency_s: Seconds until it was answered.
        inputs: Of one of the signatures that are logged.
        outputs: What was answered; without items there is no record.
    """
    items = outputs.get(contract.ITEM_IDS)
    if items is None:
        return
    queries = (
        [_of_example(raw) for raw in inputs[contract.EXAMPLES].tolist()]
        if contract.EXAMPLES in inputs
        else [_of_row(inputs, row) for row in range(len(items))]
    )
    sources, scores = outputs.get(contract.SOURCE), outputs.get(contract.SCORES)
    for row, query in enumerate(queries):
        listed = [item.decode("utf-8", "replace") for item in items[row].tolist() if item]
        history = [item.decode("utf-8", "replace") for item in query[contract.HISTORY] if item]
        yield record(
            by="server",
            request_id=request_id,
            row=row,
            time_us=time_us,
            model=about.get("model", ""),
            version=about.get("version"),
            label=about.get("label"),
            source=None if sources is None else sources[row].decode("utf-8", "replace"),
            latency_s=latency_s,
            user=log.user(query[contract.USER_ID].decode("utf-8", "replace")),
            history=history,
            logged=log.history,
            context=log.features(query[contract.CONTEXT]),
            ruled=query["ruled"],
            items=listed,
            scores=[] if scores is None else scores[row].tolist()[: len(listed)],
        )


def _of_row(inputs: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    def listed(name: str) -> list[bytes]:
        return [text for text in np.ravel(inputs[name][row]).tolist() if text] if name in inputs else []

    serialized = inputs[contract.CONTEXT][row] if contract.CONTEXT in inputs else b""
    diversity = inputs[contract.DIVERSITY][row] if contract.DIVERSITY in inputs else contract.AS_CONFIGURED
    return {
        contract.USER_ID: (listed(contract.USER_ID) or [b""])[0],
        contract.HISTORY: listed(contract.HISTORY),
        contract.CONTEXT: _features(serving_pb2.Example.FromString(serialized)),
        "ruled": bool(diversity != contract.AS_CONFIGURED or any(listed(name) for name in _RULES)),
    }


def _of_example(raw: bytes) -> dict[str, Any]:
    example = serving_pb2.Example.FromString(raw)
    feature = example.features.feature

    def listed(name: str) -> list[bytes]:
        return list(feature[name].bytes_list.value) if name in feature else []

    asked = {contract.USER_ID, contract.HISTORY, contract.K, contract.DIVERSITY, contract.BOOST_BY, *_RULES}
    context = _features(example)
    return {
        contract.USER_ID: (listed(contract.USER_ID) or [b""])[0],
        contract.HISTORY: listed(contract.HISTORY),
        contract.CONTEXT: {name: v for name, v in context.items() if name not in {*asked, contract.TASK_WEIGHTS}},
        "ruled": contract.DIVERSITY in context or any(map(listed, _RULES)),
    }


def _features(example: Any) -> dict[str, Any]:
    """The features of a tf.Example by name: a text or a number, or a list of them."""
    found = {name: _values(feature) for name, feature in example.features.feature.items()}
    return {name: values[0] if len(values) == 1 else values for name, values in sorted(found.items()) if values}


def _values(feature: Any) -> list[Any]:
    kind: Optional[str] = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
