"""CatalogueGen's settings."""

import pydantic
import pytest

from components.catalogue_gen.settings import CatalogueSettings


@pytest.mark.parametrize("display", ["title", "{title", "{}", "{title:>5}", "{title!r}"])
def test_display_templates_that_make_no_sense(display):
    with pytest.raises(pydantic.ValidationError, match="display"):
        CatalogueSettings(display=display)
