"""Settings of the Evaluator: what is measured, on which slices, and what a model must reach to be blessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Union

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from components.evaluator.baselines.settings import BaselineSettings
from components.metrics import METRICS, Metric
from components.settings import Settings

Cutoffs = tuple[PositiveInt, ...]
Slice = Annotated[tuple[str, ...], Field(min_length=1)]


class Threshold(Settings):
    """What one metric of the candidate must reach; every condition that is set has to hold.

    Other models are compared with by the bootstrap: the confidence interval of the difference, in which both models'
    replicates count the same users. Noise refuses nobody: a condition fails where the whole interval is on the wrong
    side. Without replicates, and for metrics that have none, the figures decide.
    """

    min: float | None = None
    """Lowest value that passes."""
    max_drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How far the value may be below the champion's, as a share of it: 0.01 is one per cent. Not checked without a
    champion. Over all queries it must hold on the champion's own too, those that it was judged by on the night when it
    was pushed, as far as they are there and tonight's training had no part in them."""
    keep_lead: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much of the champion's lead must be kept: with 0.5, after a champion that had 1.4 times the metric of the
    best baseline on the night when it was pushed, at least 1.2 times that of tonight's best. Over all queries, among
    the baselines of both nights; not checked without a champion that led."""
    beat_popularity: bool = False
    """The value must be above that of the popularity baseline, or be that in part of the interval."""
    beat_baselines: Union[bool, tuple[str, ...]] = False
    """The same for the best baseline: of all, or of those named."""
    certain: bool = False
    """Whether doubt refuses too: comparisons then ask for an interval that is wholly on the right side."""
    slices: tuple[Slice, ...] = ()
    """Slices of `evaluation.slices` in which all this must hold too, for each value with enough queries."""

    def rivals(self, names: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Returns the groups of baselines of each of which the best is to be beaten; `names` are those there are."""
        groups: list[tuple[str, ...]] = [("popularity",)] if self.beat_popularity else []
        if self.beat_baselines is not False:
            groups.append(names if self.beat_baselines is True else self.beat_baselines)
        return groups


class EvaluatorSettings(Settings):
    """How models are judged."""

    ks: Annotated[Cutoffs, Field(min_length=1)] = (1, 5, 10, 50, 100)
    """Lengths of the answer at which the hit rate (top-k accuracy) is measured. MRR is cut at the longest of all."""
    recall_ks: Cutoffs = (10,)
    """Lengths at which recall is measured; with one relevant item a query it is the hit rate."""
    precision_ks: Cutoffs = (10,)
    """Lengths at which precision is measured; with one relevant item a query it is the hit rate divided by k."""
    map_ks: Cutoffs = (10,)
    """Lengths at which the mean average precision is measured; here the reciprocal rank cut at k."""
    ndcg_ks: Cutoffs = (10,)
    """Lengths at which NDCG is measured."""
    list_ks: Cutoffs = (10,)
    """Lengths at which is measured what is recommended, right or wrong: coverage of the catalogue, diversity within an
    answer and overlap with the history (by the items' categories, where there are any), novelty in bits, average
    popularity in training events, and the Gini index of how often each item is recommended."""
    slices: tuple[Slice, ...] = (("user_type",), ("history_length",), ("item_popularity",))
    """Features by whose values the metrics are split up; several in one entry are crossed. `user_type` (known or new),
    `history_length` (0, 1-4, 5-19, 20+ items), `item_popularity` (of the item that followed: head for the tenth of the
    items with the most training events, mid for those down to the middle, tail for the rest, new for one without
    training events) or any category of the event or its user."""
    max_queries: PositiveInt | None = None
    """At most so many queries are asked, all of some users, drawn evenly and always the same; by default all are."""
    min_slice_size: PositiveInt = 50
    """A slice with queries of fewer users is reported with their count only, and no threshold is checked on it. The
    whole set of queries is no slice."""
    bootstrap_replicates: NonNegativeInt = 200
    """Replicates of the bootstrap over users, from which the confidence intervals of the ranking metrics come; 0 for
    none."""
    confidence_level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """How likely a confidence interval is to hold the true value."""
    baselines: BaselineSettings = BaselineSettings()
    """The simple recommenders beside which models are shown."""
    thresholds: Mapping[str, Threshold] = {
        "hit_rate@10": Threshold(max_drop=0.01),
        "ndcg@10": Threshold(beat_baselines=True, keep_lead=0.5),
    }
    """Metric name to what the candidate must reach there. Without any, every model is blessed. The best baseline has to
    be beaten in NDCG@10, for where there are no more than 10 items to recommend every model has the same hit rate."""
    exclude_seen: bool = True
    """Older configs may have it, true: what is left out of the answers is what `serving.exclude` leaves out."""
    batch_size: PositiveInt = 256
    """Queries a request. Memory grows with it times the number of items."""

    @property
    def depth(self) -> int:
        """How many items each model is asked for."""
        return max(*self.ks, *self.recall_ks, *self.precision_ks, *self.map_ks, *self.ndcg_ks, *self.list_ks, 1)

    @property
    def headline(self) -> str:
        """The ranking metric that stands for all where there is room for one: the first with a threshold, if any."""
        names = self.ranking_metrics()
        return next(name for name in (*self.thresholds, "hit_rate@10", *names) if name in names)

    def ranking_metrics(self) -> dict[str, tuple[str, int]]:
        """Returns the metrics of the relevant item's rank, in the order of the report: name to kind and k."""
        return self._metrics(metric for metric in METRICS.values() if metric.of == "rank")

    def list_metrics(self) -> dict[str, tuple[str, int]]:
        """Returns the metrics of what is recommended, likewise."""
        return self._metrics(metric for metric in METRICS.values() if metric.of != "rank")

    def _metrics(self, kinds: Iterable[Metric]) -> dict[str, tuple[str, int]]:
        found = {}
        for metric in kinds:
            if not metric.cutoffs:
                found[metric.name] = (metric.name, self.depth)
            else:
                cutoffs: Cutoffs = getattr(self, metric.cutoffs)
                found |= {f"{metric.name}@{k}": (metric.name, k) for k in sorted(set(cutoffs))}
        return found

    @field_validator("exclude_seen")
    @classmethod
    def _exclude_seen_holds(cls, exclude_seen: bool) -> bool:
        if not exclude_seen:
            raise ValueError("false would judge lists that nobody is served: set serving.exclude: nothing, or types")
        return exclude_seen

    @model_validator(mode="after")
    def _thresholds_can_be_checked(self) -> EvaluatorSettings:
        metrics = {**self.ranking_metrics(), **self.list_metrics()}
        for name, threshold in self.thresholds.items():
            if name not in metrics:
                raise ValueError(f"thresholds: {name!r} is not measured; there is {', '.join(metrics)}")
            if not METRICS[metrics[name][0]].more_is_better:
                raise ValueError(f"thresholds: {name}: more of it is not better, so no threshold can be set on it")
            for columns in threshold.slices:
                if columns not in self.slices:
                    raise ValueError(f"thresholds: {name}: {list(columns)} is not one of slices")
            for rivals in threshold.rivals(self.baselines.names):
                missing = sorted(set(rivals) - set(self.baselines.names))
                if missing or not rivals:
                    raise ValueError(
                        f"thresholds: {name}: to be beaten, {', '.join(missing) or 'a baseline'} must be one of "
                        f"baselines.names, which are {', '.join(self.baselines.names) or 'none'}"
                    )
        return self
