"""The base of all settings, and that all settings stand on it."""

import typing

import pydantic
import pytest

from components.settings import Settings
from pipeline.config import Config


class Size(Settings):
    """An example."""

    width: int = 1
    """In millimetres."""


def test_a_misspelt_key_is_refused():
    with pytest.raises(pydantic.ValidationError, match=r"widht\n.*not permitted"):
        Size.model_validate({"widht": 2})


def test_values_do_not_change():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Size().width = 2


def test_docstrings_are_descriptions():
    assert Size.model_fields["width"].description == "In millimetres."


def parts(annotation):
    """All models inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation, *(model for field in annotation.model_fields.values() for model in parts(field.annotation))]
    return [model for argument in typing.get_args(annotation) for model in parts(argument)]


def test_every_part_of_the_config_stands_on_it():
    found = parts(Config)
    assert len(set(found)) > 25
    assert {model.__name__ for model in found if not issubclass(model, Settings)} == set()
