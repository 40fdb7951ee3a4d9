"""Settings of the model and of its training, free of TensorFlow so that the command line starts fast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional, TypeVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from components.settings import Settings

Widths = tuple[PositiveInt, ...]
Name = Annotated[str, Field(min_length=1)]
HoldOut = Literal["latest", "last_of_user", "any"]
_POOLING = {"dim": 64, "attention_heads": 2, "shared_item_table": False, "dropout": 0.2, "history_length": 50}
_TRANSFORMER = {"dim": 128, "attention_heads": 4, "shared_item_table": True, "dropout": 0.3}
_TRAINING = {"learning_rate": 0.006, "decay": "none", "l2": 0.02}
_TRANSFORMER_TRAINING = {"learning_rate": 0.002, "decay": "cosine", "l2": 0.0}
_FULL_UP_TO = 20_000
"""Items up to which a transformer's loss is over all of them, at whose cost it does best."""


class RankingSettings(Settings):
    """The second stage: a ranker that corrects the scores of the items that the towers retrieve."""

    enabled: bool = False
    """Whether there is one. It is learned from the events that are held back for validation, which the first training
    of the towers does not see."""

    candidates: int = Field(200, ge=1, le=2_000)
    """Items that are ranked, the best of the retrieval; those behind follow in the order of the retrieval."""

    loss: Literal["softmax", "pointwise"] = "softmax"
    """softmax: the event's item against the other candidates of its list. pointwise: each candidate by itself."""

    target: Literal["event", "weight"] = "event"
    """What is learned: that the event happened, or its weight, which says what kind of event it was and how it was
    rated (`data.interactions`). softmax weighs the list by it; pointwise takes it, as a share of the greatest, as the
    label."""

    cross_layers: int = Field(1, ge=0)
    """Layers that multiply the features with one another (DCN-v2)."""

    layers: Widths = ()
    """Widths of hidden ReLU layers after them."""

    queries: int = Field(20_000, ge=1)
    """At most so many of the events held back are learned from, evenly spread."""

    batch_size: int = Field(128, ge=1)
    """Lists a step."""

    learning_rate: float = Field(0.003, gt=0)
    """Of Adam."""

    epochs: int = Field(10, ge=1)
    """Passes over the lists, of which the best by NDCG@10 counts; none if the retrieval alone is better."""


class LinearSettings(Settings):
    """The linear part: closed forms of which items go together, which follow one another, and what comes next after all
    before it, whose scores are added to the towers'. How much they count is learned from the events that are held back
    for validation, which neither they nor the first training of the towers see; they are left out where they gain
    nothing."""

    enabled: bool = True
    """Whether there is one. It needs a history, and leaves items without training events as they are."""

    max_items: int = Field(6_000, ge=1)
    """Most popular items that take part in EASE and SLIT, which solve for the weights of all their pairs: their time
    grows with the cube of that, their memory with the square (6,000: 1 GB). What follows one another is counted for all
    items."""

    neighbours: int = Field(300, ge=1)
    """Weights of each item that are kept, in each of the three; fewer of more than 30,000 items."""

    max_events: int = Field(5_000_000, ge=1)
    """Training events that are counted at most; of a longer log those of some users."""

    queries: int = Field(10_000, ge=1)
    """At most so many of the events held back are asked, evenly spread."""


class TaskSettings(Settings):
    """A task: what the towers predict events of some types by."""

    events: tuple[Name, ...] = Field(min_length=1)
    """The types of events that it learns, as the log's column `data.interactions.columns.event` has them."""

    weight: float = Field(1.0, ge=0, le=1e6)
    """How much it counts in a score unless a request says otherwise; only ratios of weights matter."""


class ModelSettings(Settings):
    """The two towers."""

    dim: Optional[Annotated[int, Field(ge=1, le=4096)]] = None
    """Width of the embeddings that both towers end in; by default 64, of a transformer 128."""

    history: Literal["auto", "pooling", "attention", "transformer", "none"] = "auto"
    """How the query tower reads the history: pooling, a mean with learned weights by place; attention, the same after a
    block of self-attention; transformer, a causal transformer that learns from each event of a whole sequence at once,
    for long histories; none, not at all. auto: a transformer where users have many events and there are enough of them,
    pooling elsewhere (docs/architecture.md)."""

    history_length: Optional[PositiveInt] = None
    """The newest items of a history that the query tower reads; by default 50, a transformer all of
    `data.interactions.history.max_length`."""

    history_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of a history's items that a training step leaves out, so that no single item decides."""

    history_features: bool = True
    """Whether the side features of the history's items count too."""

    attention_heads: Optional[PositiveInt] = None
    """Heads of the self-attention, by default 2, or of the transformer, by default 4."""

    transformer_blocks: int = Field(2, ge=1, le=16)
    """Blocks of the transformer."""

    user_id: bool = False
    """Whether the query tower has an embedding of each training user."""

    id_dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the events in which a training step leaves the user's id out, so that the tower learns to live without
    it."""

    query_features: tuple[Name, ...] = ()
    """Features of the event or its user that the query tower takes. They must be known before the event: a request
    brings them as its context. The servable stores those of the user."""

    time_features: tuple[Literal["hour", "weekday"], ...] = ()
    """Features that the query tower takes from the time of the request (UTC)."""

    feature_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the events in which a training step leaves all these features out, for requests without them."""

    query_layers: Widths = ()
    """Widths of hidden ReLU layers of the query tower, whose outcome is added to what they start from."""

    candidate_layers: Widths = ()
    """The same of the candidate tower."""

    item_id: bool = True
    """Whether the candidate tower has an embedding of each item. Without it items are their side features alone."""

    shared_item_table: Optional[bool] = None
    """Whether history and candidates use one item table. Two tables let "what follows X" differ from "like X"; a
    transformer tells that by itself, and by default shares one."""

    item_bias: bool = True
    """Whether each item has a bias, which takes up popularity."""

    normalize: bool = False
    """Whether both embeddings are scaled to length 1, so that the score is their cosine over `temperature`."""

    temperature: float = Field(0.1, gt=0)
    """With `normalize`: smaller makes training look at the hardest negatives."""

    dropout: Optional[Annotated[float, Field(ge=0, lt=1)]] = None
    """Share of the query embedding's entries, or of those within a transformer, dropped in training; by default 0.2, of
    a transformer 0.3."""

    tasks: dict[Name, TaskSettings] = Field(default_factory=dict)
    """What is predicted, where that is more than one thing: names, and of each the types of events that it learns. Each
    task has queries of its own, and a score weighs them; a request may bring other weights. Without any, events of all
    types are learned alike."""

    text_tokens: int = Field(5_000, ge=1)
    """Most frequent tokens kept of each text feature."""

    categories: int = Field(10_000, ge=1)
    """Most frequent values kept of each categorical feature."""

    linear: LinearSettings = LinearSettings()
    """The linear part."""

    ranking: RankingSettings = RankingSettings()
    """The second stage."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> ModelSettings:
        if self.history == "none" and not (self.user_id or self.query_features or self.time_features):
            raise ValueError(
                "history none needs user_id, query_features or time_features: else all queries are the same"
            )
        full = self.resolved()
        if self.history == "transformer" and full.width % full.heads:
            raise ValueError(f"attention_heads {full.heads}: dim {full.width} must be a multiple of it")
        return self

    @model_validator(mode="after")
    def _tasks_are_apart(self) -> ModelSettings:
        task_of: dict[str, str] = {}
        for name, task in self.tasks.items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ValueError(f"tasks: {name!r} is no name: it has letters, digits and _, a letter first")
            for event in task.events:
                if event in task_of:
                    raise ValueError(
                        f"tasks: {task_of[event]} and {name} both learn {event!r}; leave it to one of them"
                    )
                task_of[event] = name
        if self.tasks and not any(task.weight for task in self.tasks.values()):
            raise ValueError("tasks: all weights are 0; give one of them more")
        return self

    def resolved(self) -> ModelSettings:
        """The settings with a value for all that they leave open; auto, where no data has decided yet, is pooling."""
        found = _filled(self, _TRANSFORMER if self.history == "transformer" else _POOLING)
        return found.model_copy(update={"history": "pooling"}) if self.history == "auto" else found

    @property
    def task_shares(self) -> dict[str, float]:
        """What each task counts in a score unless a request says otherwise, of 1 in all."""
        total = sum(task.weight for task in self.tasks.values())
        return {name: task.weight / total for name, task in self.tasks.items()}

    @property
    def width(self) -> int:
        """`dim` of resolved settings."""
        assert self.dim is not None
        return self.dim

    @property
    def heads(self) -> int:
        """`attention_heads` of resolved settings."""
        assert self.attention_heads is not None
        return self.attention_heads


class TrainingSettings(Settings):
    """How the towers are trained."""

    histories: Literal["past", "others"] = "past"
    """What an event is learned from. past: what the user did before it. others: all that the user did but it, for logs
    that know no order; a query is still answered from the past."""

    loss: Literal["auto", "in_batch", "mixed", "full"] = "auto"
    """in_batch: softmax over the items of the batch; mixed: over those and others drawn evenly, so that rare items are
    negatives too; full: over all items that training has seen, for small catalogues. auto: full for a transformer and
    at most 20,000 items, in_batch elsewhere."""

    log_q: bool = True
    """Whether sampled items' scores are corrected for how often they are sampled. Without it popular items, which are
    negatives most often, are pushed down."""

    uniform_negatives: int = Field(2_048, ge=1)
    """Items drawn evenly a step, with the mixed loss."""

    hard_negatives: int = Field(0, ge=0)
    """With a sampled loss: only so many negatives of each query count, the hardest; 0: all."""

    batch_size: int = Field(1_024, ge=2)
    """Events a step."""

    batch_sequences: Optional[PositiveInt] = None
    """With `model.history: transformer`: pieces of users' sequences a step; by default so many that they have some
    thousand events."""

    events_in_memory: int = Field(2_000_000, ge=1)
    """Most events in memory at a time. A longer log lies in temporary files on the disk, in parts of whole users;
    they are shuffled, and their latest events held back, part by part."""

    optimizer: Literal["adam", "lazy_adam", "adagrad"] = "adam"
    """lazy_adam updates only the rows of tables that a batch has, for large catalogues."""

    learning_rate: Optional[PositiveFloat] = None
    """The optimizer's learning rate; by default 0.006, of a transformer 0.002."""

    decay: Optional[Literal["none", "cosine"]] = None
    """Whether the learning rate falls from pass to pass, as half a cosine that would be 0 after `epochs`; by default
    that of a transformer does."""

    l2: Optional[NonNegativeFloat] = None
    """Weight of the squared norm of the embeddings of a batch; the fewer events users have, the more of it. By default
    0.02, with a transformer 0."""

    average: float = Field(0.6, ge=0, lt=1)
    """The model is the exponential moving average of the weights after each pass, in which the average before has this
    weight: less noise from the last steps. 0: the last pass alone."""

    epochs: int = Field(20, ge=1)
    """Most passes over the training events."""

    patience: int = Field(3, ge=1)
    """Passes without a better validation metric after which training stops."""

    stop_on: Literal["ndcg@10", "hit@10"] = "ndcg@10"
    """The validation metric."""

    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the training events on which the number of passes is chosen: the latest ones, or, as the split does, the
    last of each user or any."""

    validation_queries: int = Field(10_000, ge=1)
    """At most so many of them are asked, evenly spread, so that validation stays short."""

    refit: bool = True
    """Whether a second training, on all training events, follows with the number of passes found; where the learning
    rate decays, the last quarter of these, from where the first training ended."""

    checkpoints: bool = True
    """Whether each pass is saved, so that a killed training goes on where it was."""

    workers: int = Field(1, ge=1, le=64)
    """Processes on this machine that train together, each on its share of every batch; see docs/training.md, also for
    several machines."""

    jit_compile: Optional[bool] = None
    """Whether steps are compiled by XLA; by default those of a transformer on a GPU are."""

    mixed_precision: Optional[bool] = None
    """Whether scores are multiplied in bfloat16; by default on a GPU."""

    def resolved(self, history: str, num_items: int, gpu: bool = False) -> TrainingSettings:
        """The settings with a value for all that they leave open.

        Args:
            history: How the model reads the history, see `ModelSettings.resolved`.
            num_items: Items that training has seen.
            gpu: Whether it trains on one.
        """
        transformer = history == "transformer"
        compiled = transformer and gpu and self.workers == 1
        found = _filled(self, {"jit_compile": compiled, "mixed_precision": gpu})
        found = _filled(found, _TRANSFORMER_TRAINING if transformer else _TRAINING)
        if self.loss != "auto":
            return found
        return found.model_copy(update={"loss": "full" if transformer and num_items <= _FULL_UP_TO else "in_batch"})

    @property
    def rate(self) -> float:
        """`learning_rate` of resolved settings."""
        assert self.learning_rate is not None
        return self.learning_rate

    @model_validator(mode="after")
    def _workers_have_work(self) -> TrainingSettings:
        if self.workers > self.batch_size:
            raise ValueError(f"workers {self.workers} are more than the {self.batch_size} events of a batch")
        if self.workers > 1 and self.jit_compile:
            raise ValueError("jit_compile: XLA can't compile steps that several workers share; set workers to 1")
        return self


class TrainerSettings(Settings):
    """All that the Trainer goes by; it comes to `run_fn` as JSON, as `custom_config`."""

    seed: int
    """Of the first weights, the order of events and all noise."""

    features: Mapping[str, str]
    """The items' features and their types."""

    query_features: Mapping[str, str]
    """The features that the query tower takes, and their types."""

    user_features: tuple[str, ...]
    """Those of them that are the user's."""

    max_history: int = Field(ge=0)
    """Most items of a history."""

    hold_out: HoldOut
    """Which training events are held back for validation: the latest, each user's last, or any."""

    may_repeat: bool = False
    """Whether answers may hold what a user had, so that validation leaves nothing of it out."""

    checkpoints: str = ""
    """Folder of the checkpoints; empty for none."""

    keep: Literal["nothing", "to_ship", "always"] = "nothing"
    """Whether a later training may go on from this one's model. to_ship: the one that ships does where the learning
    rate decays."""

    refit_linear: bool = False
    """Whether a training that goes on fits the linear part to all events, instead of keeping that of before."""

    model: ModelSettings
    training: TrainingSettings

    @property
    def keeps(self) -> bool:
        """Whether to keep the model for a later training; of resolved settings."""
        return self.keep == "always" or (self.keep == "to_ship" and self.training.decay != "none")

    @model_validator(mode="after")
    def _go_together(self) -> TrainerSettings:
        check_together(self.model, self.training, self.max_history)
        return self


_Open = TypeVar("_Open", bound=Settings)


def _filled(settings: _Open, values: Mapping[str, Any]) -> _Open:
    """The settings with values for those of these that are null."""
    return settings.model_copy(update={name: v for name, v in values.items() if getattr(settings, name) is None})


def check_together(model: ModelSettings, training: TrainingSettings, max_history: int) -> None:
    """Raises ValueError unless the training can be of the model, on histories of at most `max_history` items."""
    if model.history == "transformer" and not max_history:
        raise ValueError("model.history transformer: data.interactions.history.max_length is 0; it must be more")
    if model.history == "transformer" and training.histories == "others":
        raise ValueError("model.history transformer learns from an order, which training.histories others has not")
    if model.history == "transformer" and training.workers > 1:
        raise ValueError("model.history transformer: whole sequences are not shared among training.workers; set 1")
