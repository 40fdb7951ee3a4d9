"""The base of all settings: of the components' and of the config file's other parts."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A part of the config: unknown keys are errors, so are endless numbers, values do not change, docstrings under
    keys describe them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
