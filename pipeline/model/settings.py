"""Settings of the model and of its training, free of TensorFlow so that the command line starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Optional

from pydantic import Field, PositiveInt, model_validator

from components.settings import Settings

Widths = tuple[PositiveInt, ...]
Name = Annotated[str, Field(min_length=1)]
HoldOut = Literal["latest", "last_of_user", "any"]


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


class ModelSettings(Settings):
    """The two towers."""

    dim: int = Field(64, ge=1, le=4096)
    """Width of the embeddings that both towers end in."""

    history: Literal["pooling", "attention", "transformer", "none"] = "pooling"
    """How the query tower reads the history: a mean with learned weights by place, the same after a block of
    self-attention, a causal transformer that learns from each event of a whole sequence at once, for long histories, or
    not at all."""

    history_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of a history's items that a training step leaves out, so that no single item decides."""

    history_features: bool = True
    """Whether the side features of the history's items count too."""

    attention_heads: int = Field(2, ge=1)
    """Heads of the self-attention and of the transformer."""

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

    shared_item_table: bool = False
    """Whether history and candidates use one item table. Two tables let "what follows X" differ from "like X"."""

    item_bias: bool = True
    """Whether each item has a bias, which takes up popularity."""

    normalize: bool = False
    """Whether both embeddings are scaled to length 1, so that the score is their cosine over `temperature`."""

    temperature: float = Field(0.1, gt=0)
    """With `normalize`: smaller makes training look at the hardest negatives."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the query embedding's entries dropped in training."""

    text_tokens: int = Field(5_000, ge=1)
    """Most frequent tokens kept of each text feature."""

    categories: int = Field(10_000, ge=1)
    """Most frequent values kept of each categorical feature."""

    ranking: RankingSettings = RankingSettings()
    """The second stage."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> ModelSettings:
        if self.history == "none" and not (self.user_id or self.query_features or self.time_features):
            raise ValueError(
                "history none needs user_id, query_features or time_features: else all queries are the same"
            )
        if self.history == "transformer" and self.dim % self.attention_heads:
            raise ValueError(f"attention_heads {self.attention_heads}: dim {self.dim} must be a multiple of it")
        return self


class TrainingSettings(Settings):
    """How the towers are trained."""

    histories: Literal["past", "others"] = "past"
    """What an event is learned from. past: what the user did before it. others: all that the user did but it, for logs
    that know no order; a query is still answered from the past."""

    loss: Literal["in_batch", "mixed", "full"] = "in_batch"
    """Softmax over the items of the batch; over those and others drawn evenly, so that rare items are negatives too; or
    over all items that training has seen, for small catalogues."""

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

    learning_rate: float = Field(0.006, gt=0)
    """The optimizer's learning rate."""

    l2: float = Field(0.02, ge=0)
    """Weight of the squared norm of the embeddings of a batch; the fewer events users have, the more of it."""

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
    """Whether a second training, on all training events, follows with the number of passes found."""

    checkpoints: bool = True
    """Whether each pass is saved, so that a killed training goes on where it was."""

    workers: int = Field(1, ge=1, le=64)
    """Processes on this machine that train together, each on its share of every batch; see docs/training.md, also for
    several machines."""

    jit_compile: bool = False
    """Whether steps are compiled by XLA, which pays on GPUs."""

    mixed_precision: bool = False
    """Whether scores are multiplied in bfloat16, which pays on hardware that has it."""

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

    checkpoints: str = ""
    """Folder of the checkpoints; empty for none."""

    model: ModelSettings
    training: TrainingSettings

    @model_validator(mode="after")
    def _go_together(self) -> TrainerSettings:
        check_together(self.model, self.training, self.max_history)
        return self


def check_together(model: ModelSettings, training: TrainingSettings, max_history: int) -> None:
    """Raises ValueError unless the training can be of the model, on histories of at most `max_history` items."""
    if model.history == "transformer" and not max_history:
        raise ValueError("model.history transformer: data.interactions.history.max_length is 0; it must be more")
    if model.history == "transformer" and training.histories == "others":
        raise ValueError("model.history transformer learns from an order, which training.histories others has not")
    if model.history == "transformer" and training.workers > 1:
        raise ValueError("model.history transformer: whole sequences are not shared among training.workers; set 1")
