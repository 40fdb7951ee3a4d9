"""Settings of the Evaluator: what is measured, on which slices, and what a model must reach to be blessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Cutoffs = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Slice = Annotated[tuple[str, ...], Field(min_length=1)]


class Threshold(BaseModel):
    """What one metric of the candidate must reach; every condition that is set has to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    min: float | None = None
    """Lowest value that passes."""
    max_drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How far the value may be below the champion's, as a share of it: 0.01 is one per cent. Not checked without a
    champion."""
    beat_popularity: bool = False
    """The value must be above that of the popularity baseline."""
    slices: tuple[Slice, ...] = ()
    """Slices of `evaluator.slices` in which all this must hold too, for each value with enough queries."""


class EvaluatorSettings(BaseModel):
    """How models are judged."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    ks: Cutoffs = (1, 5, 10, 50, 100)
    """Lengths of the answer at which the hit rate (top-k accuracy) is measured. MRR is cut at the longest."""
    ndcg_ks: Cutoffs = (10,)
    """Lengths of the answer at which NDCG is measured."""
    slices: tuple[Slice, ...] = (("user_type",), ("history_length",))
    """Features by whose values the metrics are split up; several in one entry are crossed. `user_type` (known or new),
    `history_length` (0, 1-4, 5-19, 20+ items) or any category of the event or its user."""
    min_slice_size: PositiveInt = 50
    """A slice with fewer queries is reported with its count only, and no threshold is checked on it. The whole
    set of queries is no slice."""
    thresholds: Mapping[str, Threshold] = {"hit_rate@10": Threshold(max_drop=0.01, beat_popularity=True)}
    """Metric name to what the candidate must reach there. Without any, every model is blessed."""
    exclude_seen: bool = True
    """What the user had before the event is left out of the answer."""
    batch_size: PositiveInt = 256
    """Queries a request. Memory grows with it times the number of items."""

    @property
    def depth(self) -> int:
        """How many items each model is asked for."""
        return max(*self.ks, *self.ndcg_ks)

    def metrics(self) -> dict[str, tuple[str, int]]:
        """Returns the metrics in the order of the report: name to kind ("hit_rate", "ndcg" or "mrr") and k."""
        return {
            **{f"hit_rate@{k}": ("hit_rate", k) for k in sorted(set(self.ks))},
            **{f"ndcg@{k}": ("ndcg", k) for k in sorted(set(self.ndcg_ks))},
            "mrr": ("mrr", self.depth),
        }

    @model_validator(mode="after")
    def _thresholds_can_be_checked(self) -> EvaluatorSettings:
        for name, threshold in self.thresholds.items():
            if name not in self.metrics():
                raise ValueError(f"thresholds: {name!r} is not measured; there is {', '.join(self.metrics())}")
            for columns in threshold.slices:
                if columns not in self.slices:
                    raise ValueError(f"thresholds: {name}: {list(columns)} is not one of slices")
        return self
