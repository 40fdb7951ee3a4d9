"""A servable as the Evaluator asks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.errors import InputError
from components.evaluator.servable import Servable, check_servable, context_features, served_depth

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

ITEMS = [f"i{number:02}" for number in range(20)]


def queries(*rows: tuple[list[str], list[str]]) -> pa.Table:
    """History and what was seen of each query, as `components.examples.reading` gives them."""
    lists = [[value.encode() for value in values] for row in rows for values in row]
    kind = pa.large_list(pa.large_binary())
    return pa.table(
        {
            "user_id": pa.array([[b"u"]] * len(rows), kind),
            "user_type": pa.array([[b"known"]] * len(rows), kind),
            "history": pa.array(lists[::2], kind),
            "seen": pa.array(lists[1::2], kind),
        }
    )


def test_answers_are_what_recommend_says(servable: Callable[..., Path]) -> None:
    """This one gives the item after the newest, and those that follow."""
    answered = Servable(str(servable()), 3).answer(queries((["i04"], ["i06"]), ([], [])))
    assert answered.tolist() == [[b"i05", b"i07", b"i08"], [b"i00", b"i01", b"i02"]]


def test_answers_with_what_was_seen_are_the_best_of_score(servable: Callable[..., Path]) -> None:
    candidates = np.array([item.encode() for item in [*ITEMS[::-1], "unknown"]], object)
    model = Servable(str(servable(step=0)), 2, candidates)
    assert model.answer(queries((["i04"], ["i04"]))).tolist() == [[b"i04", b"i05"]]
    everything = Servable(str(servable(step=0)), 99, candidates).answer(queries((["i04"], [])))
    assert everything.shape == (1, 21), "no more than there are"
    assert everything[0, -1] == b"", "the unknown one"


def test_what_a_servable_says_of_itself(servable: Callable[..., Path], tmp_path: Path) -> None:
    assert served_depth(str(servable(max_k=3, step=2, fingerprint="f2")), 10) == 3
    assert served_depth(str(servable()), 10) == 10
    assert served_depth(str(tmp_path), 10) == 10, "of others nothing is known"
    assert context_features(str(servable())) == {}
    assert context_features(str(servable(context=True))) == {"skip": float, "timestamp": int}


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_one_with_the_signature_can_be_judged(servable: Callable[..., Path], exclude_seen: bool) -> None:
    check_servable(str(servable()), "candidate", exclude_seen)
    check_servable(str(servable(context=True)), "candidate", exclude_seen)


def test_others_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"the champion {tmp_path} is no SavedModel"):
        check_servable(str(tmp_path), "champion", True)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="has no signature 'score', so it isn't a servable of this pipeline"):
        check_servable(str(tmp_path), "champion", False)
