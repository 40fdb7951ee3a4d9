"""Settings of `recommender tune`: which keys it searches, and for how long."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Optional

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from components.settings import Settings
from pipeline.model.settings import ModelSettings, TrainingSettings

_SECTIONS: dict[str, type[Settings]] = {"model": ModelSettings, "training": TrainingSettings}

_TRANSFORM = "Transform goes by it, which has run when the search begins"
_RULER = "the trials are compared by it"

_FIXED = {
    "model.categories": _TRANSFORM,
    "model.query_features": _TRANSFORM,
    "model.tasks": _TRANSFORM,
    "model.text_tokens": _TRANSFORM,
    "model.time_features": _TRANSFORM,
    "model.user_id": _TRANSFORM,
    "training.checkpoints": "no trial is saved",
    "training.refit": "no trial fits again to all events",
    "training.stop_on": _RULER,
    "training.validation_fraction": _RULER,
    "training.validation_queries": _RULER,
}
"""Keys that are no part of any space, and why."""


class Dimension(Settings):
    """The values of one key: `choices`, or the numbers from `low` to `high`."""

    choices: Optional[tuple[Any, ...]] = Field(None, min_length=1)
    """These values and no others."""

    low: float = Field(0, allow_inf_nan=False)
    """The least number; whole numbers only where the key takes no others."""

    high: float = Field(0, allow_inf_nan=False)
    """The greatest number, itself included."""

    log: bool = False
    """Whether the search goes by orders of magnitude, for numbers above 0 such as a learning rate."""

    step: Optional[float] = Field(None, gt=0)
    """Only `low`, `low + step`, ... are tried."""

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise ValueError("choices stand alone")
        elif not self.low < self.high:
            raise ValueError("needs choices, or a low and a high above it")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and goes without step")
        return self


def _default_space() -> dict[str, Dimension]:
    return {
        "model.dim": Dimension(choices=(32, 64, 128)),
        "model.dropout": Dimension(low=0, high=0.5),
        "model.history_dropout": Dimension(low=0, high=0.5),
        "training.batch_size": Dimension(choices=(256, 1_024, 4_096)),
        "training.learning_rate": Dimension(low=0.0005, high=0.02, log=True),
        "training.l2": Dimension(low=0.001, high=0.3, log=True),
    }


class TuningSettings(Settings):
    """What `recommender tune` searches. Trials are compared by `training.stop_on` on the validation events, which are
    held back from the training events; the evaluation split is never read."""

    space: dict[str, Dimension] = Field(default_factory=_default_space, min_length=1)
    """The keys under `model` and `training` to search, such as `training.learning_rate`, and the values of each."""

    trials: int = Field(20, ge=1)
    """Trainings in all, those of earlier calls included."""

    timeout: Optional[float] = Field(None, gt=0)
    """Seconds after which a call begins no further trial."""

    @field_validator("space")
    @classmethod
    def _known_and_valid(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        for key, dimension in space.items():
            for value in dimension.choices or (dimension.low, dimension.high):
                checked = check_value(key, value)
            if dimension.choices is None and type(checked) not in (int, float):
                raise ValueError(f"{key} takes no numbers: give it choices")
            if is_whole(key, dimension) and dimension.step is not None and dimension.step % 1:
                raise ValueError(f"{key} takes whole numbers: so must its step be")
        return space


def check_value(key: str, value: Any) -> Any:
    """Returns a value as the settings under `model` and `training` read it.

    Raises:
        ValueError: There is no such key, no trial can have it, or the value can't be its; the message names the key.
    """
    if key in _FIXED:
        raise ValueError(f"{key} can't be searched: {_FIXED[key]}")
    known = [f"{section}.{name}" for section, model in _SECTIONS.items() for name in model.model_fields]
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(k for k in known if k not in _FIXED)}"
        raise ValueError(f"{key}: unknown key; {hint}")
    section, name = key.split(".")
    field = _SECTIONS[section].model_fields[name]
    kind: Any = Annotated[field.annotation, field]  # the type with its bounds
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{key}: {error.errors()[0]['msg']} (got {value!r})") from None


def is_whole(key: str, dimension: Dimension) -> bool:
    """Says whether a range of `key` has whole numbers only."""
    return dimension.choices is None and type(check_value(key, dimension.low)) is int
