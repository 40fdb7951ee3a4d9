"""Settings of the model and of its training, free of TensorFlow so that the command line starts fast."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelSettings(Settings):
    """The two towers."""

    dim: int = Field(64, ge=1, le=4096)
    """Width of the embeddings that both towers end in."""

    shared_item_table: bool = False
    """Whether history and candidates use one item table. Two tables let "what follows X" differ from "like X"."""

    history_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of a history's items that a training step leaves out, so that no single item decides."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the query embedding's entries dropped in training."""

    query_layers: tuple[int, ...] = ()
    """Widths of hidden ReLU layers between the pooled history and the query embedding."""

    text_tokens: int = Field(5_000, ge=1)
    """Most frequent tokens kept of each text feature."""

    categories: int = Field(10_000, ge=1)
    """Most frequent values kept of each categorical feature."""


class TrainingSettings(Settings):
    """How the towers are trained."""

    loss: Literal["in_batch", "full"] = "in_batch"
    """Softmax over the items of the batch, with logQ correction and accidental hits removed, or over all items that
    training has seen, for small catalogues."""

    batch_size: int = Field(1_024, ge=2)
    """Events a step."""

    learning_rate: float = Field(0.004, gt=0)
    """Adam's learning rate."""

    l2: float = Field(0.0, ge=0)
    """Weight of the squared norm of the embeddings of a batch, for small data."""

    epochs: int = Field(20, ge=1)
    """Most passes over the training events."""

    patience: int = Field(2, ge=1)
    """Passes without a better validation metric after which training stops."""

    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the training events, the latest ones, on which the number of passes is chosen."""

    validation_queries: int = Field(10_000, ge=1)
    """At most so many of them are asked, evenly spread, so that validation stays short."""

    refit: bool = True
    """Whether a second training, on all training events, follows with the number of passes found."""
