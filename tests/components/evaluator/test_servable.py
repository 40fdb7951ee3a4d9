"""A servable as the Evaluator asks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from components.errors import InputError
from components.evaluator.servable import Servable, check_servable, context_features, left_out, served_depth

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


def test_what_is_left_out_is_what_the_servable_leaves_out(servable: Callable[..., Path]) -> None:
    batch = queries((["i04"], ["i04", "i06"]))
    lists = {"#excluded": [[b"i05"]], "#rejected": [[b"i07"]]}
    for name, values in lists.items():
        batch = batch.append_column(name, pa.array(values, pa.large_list(pa.large_binary())))
    for exclude, expected in (
        ("all", [b"i05", b"i08", b"i09"]),
        ("nothing", [b"i04", b"i05", b"i06"]),
        (("purchase",), [b"i04", b"i06", b"i08"]),
    ):
        path = str(servable(step=0, exclude=exclude))
        assert Servable(path, 3).answer(batch).tolist() == [expected]
        assert left_out(path) == (list(exclude) if isinstance(exclude, tuple) else exclude)


def test_what_a_servable_says_of_itself(servable: Callable[..., Path], tmp_path: Path) -> None:
    assert served_depth(str(servable(max_k=3, step=2, fingerprint="f2")), 10) == 3
    assert served_depth(str(servable()), 10) == 10
    assert served_depth(str(tmp_path), 10) == 10, "of others nothing is known"
    assert context_features(str(servable())) == {}
    assert context_features(str(servable(context=True))) == {"skip": float, "timestamp": int}


def test_one_with_the_signature_can_be_judged(servable: Callable[..., Path]) -> None:
    check_servable(str(servable()), "candidate")
    check_servable(str(servable(context=True)), "candidate")


def test_others_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"the champion {tmp_path} is no SavedModel"):
        check_servable(str(tmp_path), "champion")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="has no signature 'recommend', so it isn't a servable of this pipeline"):
        check_servable(str(tmp_path), "champion")
