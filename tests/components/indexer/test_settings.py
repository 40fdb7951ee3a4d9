"""The Indexer's settings."""

from __future__ import annotations

import pydantic
import pytest

from components.indexer.settings import IndexerSettings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"default_k": 0}, "greater than or equal to 1"),
        ({"compact": "float64"}, "'float32', 'float16' or 'int8'"),
        ({"cold_start": "random"}, "'popularity' or 'model'"),
        ({"diversity": 1.5}, "less than or equal to 1"),
        ({"similar": {"method": "genre"}}, "'co_occurrence' or 'embedding'"),
        ({"index": {"type": "faiss"}}, "'exact' or 'scann'"),
        ({"index": {"searched": 0}}, "greater than 0"),
        ({"index": {"recal_at": 5}}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_named(wrong: dict, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        IndexerSettings.model_validate(wrong)


def test_they_have_what_answers_and_what_is_stored_goes_by() -> None:
    settings = IndexerSettings.model_validate({"compact": "int8", "default_k": 5, "index": {"type": "scann"}})
    assert (settings.compact, settings.default_k, settings.index.type) == ("int8", 5, "scann")
    assert IndexerSettings.model_validate_json(settings.model_dump_json()) == settings
