"""The names of the DAG's nodes, without TFX, which takes seconds to import: a misspelt one is told at once."""

from __future__ import annotations

import difflib

from components.errors import InputError

NODES = (
    "InteractionGen",
    "CatalogueGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "Guards",
    "Transform",
    "CatalogueSchemaGen",
    "CatalogueTransform",
    "Trainer",
    "Indexer",
    "Champion",
    "Evaluator",
    "AllEvents",
    "ShippedTransform",
    "ShippedTrainer",
    "ShippedIndexer",
    "ServableValidator",
    "Pusher",
)
"""Those of a run on one machine, in the order in which `create_pipeline` names them."""

SHIPPING = ("AllEvents", "ShippedTransform", "ShippedTrainer", "ShippedIndexer")
"""Those of them that make the model that is shipped of all events, with `serving.ship: all`."""


def check_node(name: str | None, option: str) -> None:
    """Makes sure that an option names a node, if it is given.

    Raises:
        InputError: It doesn't; the message has the names that there are.
    """
    if name is None or name in NODES:
        return
    close = difflib.get_close_matches(name, NODES, n=1)
    hint = f"did you mean {close[0]}? The nodes are" if close else "the nodes are"
    raise InputError(f"{option} {name}: there is no such node; {hint}: {', '.join(NODES)}")
