"""CatalogueGen's settings."""

import pydantic
import pytest

from components.catalogue_gen.settings import CatalogueSettings


@pytest.mark.parametrize("display", ["title", "{title", "{}", "{title:>5}", "{title!r}"])
def test_display_templates_that_make_no_sense(display):
    with pytest.raises(pydantic.ValidationError, match="display"):
        CatalogueSettings(display=display)


def test_columns_are_those_of_the_catalogues_own_files():
    features = {
        "year": {"type": "number"},
        "look": {"type": "vector", "column": "v"},
        "sound": {"type": "vector", "path": "s.npy", "ids": "i.txt", "column": "sku"},
    }
    settings = CatalogueSettings.model_validate({"features": features})
    assert settings.columns() == ["item_id", "year", "v"]
    assert list(settings.in_table()) == ["year", "look"]
    assert list(settings.vectors()) == ["look", "sound"]
    assert list(settings.matrices()) == ["sound"]
