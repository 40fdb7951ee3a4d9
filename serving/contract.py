"""The serving contract's names, once: files, signatures, their inputs and outputs, and the format of recommender.json.

What they mean, with shapes and dtypes, stands in docs/architecture.md. Client, servers, components and pipeline all
import this, so it has the standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# Files of a version, from its folder.

SAVED_MODEL = "saved_model.pb"
MANIFEST = "assets.extra/recommender.json"
"""What the Indexer says of the servable, see `read_manifest`."""
WARMUP = "assets.extra/tf_serving_warmup_requests"
ITEMS = "assets/items.txt"
"""Ids of the items, one a line, UTF-8."""
USERS = "assets/users.txt"
"""Ids of the users with a stored history, one a line, UTF-8."""

# Files beside the versions.

MODELS_CONFIG = "models.config"
"""In the base path: what the servers serve, a `tensorflow.serving.ModelServerConfig` as text."""
TRAFFIC = "traffic.json"
"""In a model's folder: the share of users that clients send to the canary."""

# Labels of versions.

STABLE, CANARY = "stable", "canary"

# Signatures.

RECOMMEND = "recommend"
RECOMMEND_IN_CONTEXT = "recommend_in_context"
RECOMMEND_WITH_RULES = "recommend_with_rules"
RECOMMEND_EXAMPLES = "recommend_examples"
SIMILAR_ITEMS = "similar_items"
SIMILAR_ITEMS_WITH_RULES = "similar_items_with_rules"
SCORE = "score"
SCORE_IN_CONTEXT = "score_in_context"
EXPLAIN = "explain"
EXPLAIN_IN_CONTEXT = "explain_in_context"
BY_USER = "by_user"
DEFAULT = "serving_default"
DESCRIBE = "describe"
EMBED_ITEMS = "embed_items"
EMBED_QUERIES = "embed_queries"
RETRIEVE = "retrieve"
AUDIENCE = "audience"
AUDIENCE_WITH_RULES = "audience_with_rules"
SIMILAR_USERS = "similar_users"
RECOMMEND_FOR_TASKS = "recommend_for_tasks"
RECOMMEND_EXAMPLES_FOR_TASKS = "recommend_examples_for_tasks"
EXPLAIN_FOR_TASKS = "explain_for_tasks"
RECOMMEND_LEAVING_OUT = "recommend_leaving_out"
RECOMMEND_EXAMPLES_LEAVING_OUT = "recommend_examples_leaving_out"

# Inputs; those of a request in one tf.Example are its features.

USER_ID = "user_id"
HISTORY = "history"
EXCLUDE = "exclude"
"""Items that must not be answered, or users, where users are."""
EXCLUDE_OWNERS = "exclude_owners"
"""Whether users who had the item are left out of its audience."""
K = "k"
CONTEXT = "context"
ALLOW = "allow"
FILTER = "filter"
BOOST = "boost"
BOOST_BY = "boost_by"
DIVERSITY = "diversity"
TASKS = "tasks"
"""Names of tasks; in recommender.json each task's name and what it counts by default."""
TASK_WEIGHTS = "task_weights"
LEAVE_OUT = "leave_out"
"""Which of the user's items are left out, `ALL` or `NOTHING`; the empty string for what is configured."""
ITEM_ID = "item_id"
CANDIDATES = "candidates"
EXAMPLES = "examples"
TIMESTAMP = "timestamp"
"""A feature of a context: the time of the request, int64 microseconds since the epoch."""

AS_CONFIGURED = -1.0
"""The `diversity` of a request that leaves it to the model."""

# Values of `leave_out`, and in recommender.json of `EXCLUDE`, where a list of types of events may stand too.

ALL = "all"
"""All that the user had to do with."""
NOTHING = "nothing"
"""Nothing but what the user rejected."""

# Variables.

STORED_SPLITS = "history_splits"
"""Where each user's stored history begins and ends; all alike where nobody has one."""
EXCLUDED_SPLITS = "excluded_splits"
"""The same of the items of the types of events that are left out."""
REJECTED_SPLITS = "rejected_splits"
"""The same of the items that the user rejected."""

# Outputs.

ITEM_IDS = "item_ids"
USER_IDS = "user_ids"
SCORES = "scores"
SOURCE = "source"
KNOWN = "known"
DISPLAY = "display"
EMBEDDING = "embedding"
BIAS = "bias"
SEEN = "seen"
SHARD = "shard"
"""Of shards, with all other outputs: which one it is, see `Shard`, a row. In recommender.json the same."""

# In recommender.json: what `recommend` has that `retrieve` hasn't, a list of these and of `DIVERSITY`.

BEYOND_VECTORS = "beyond_vectors"
LINEAR_PART = "linear_part"
SECOND_STAGE = "second_stage"
APPROXIMATE = "approximate_index"
HISTORY_IDS = "history_ids"
CONTRIBUTIONS = "contributions"
PARTS = "parts"
PART_NAMES = "part_names"
METHOD = "method"

# Values of `method`.

EXACT = "exact"
"""The score is a sum in which each item of the history has a term."""
ATTRIBUTION = "attribution"
"""What an item carries is how much less the score would be without it."""

# Values of `part_names`, of which `BIAS` is one.

POPULARITY = "popularity"
RANKING = "ranking"
OF_USER_ID = "user_id"
EMPTY_HISTORY = "empty_history"
REST = "rest"
OF_TASKS = "tasks"
OF_FEATURE = "feature:"
"""Stands before a feature's name."""


class Shard(NamedTuple):
    """Some of the items of a servable, as a servable of its own."""

    number: int
    """From 1, in the order of the items."""
    of: int
    """How many shards there are."""
    whole: str
    """The fingerprint of the servable whose items these are."""

    def __str__(self) -> str:
        return f"{self.number}/{self.of} {self.whole}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads what `str` wrote.

        Raises:
            ValueError: it is something else.
        """
        place, _, whole = text.partition(" ")
        number, of = map(int, place.split("/"))
        return cls(number, of, whole)


class Signature(NamedTuple):
    """Names of a signature's inputs and outputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


RULES = (ALLOW, FILTER, BOOST, BOOST_BY, DIVERSITY)
_TASKS = (TASKS, TASK_WEIGHTS)
_WHO = (USER_ID, HISTORY, EXCLUDE, K)
_RANKED = (ITEM_IDS, SCORES)
_OF_USERS = (USER_IDS, SCORES, KNOWN)
_WHAT = (ITEM_ID, EXCLUDE, EXCLUDE_OWNERS, K)
_EXPLAINED = (SCORES, HISTORY_IDS, CONTRIBUTIONS, PARTS, PART_NAMES, METHOD)

SIGNATURES: Mapping[str, Signature] = {
    RECOMMEND: Signature(_WHO, (*_RANKED, SOURCE)),
    RECOMMEND_IN_CONTEXT: Signature((*_WHO, CONTEXT), (*_RANKED, SOURCE)),
    RECOMMEND_WITH_RULES: Signature((*_WHO, CONTEXT, *RULES), (*_RANKED, SOURCE)),
    RECOMMEND_EXAMPLES: Signature((EXAMPLES,), (*_RANKED, SOURCE)),
    SIMILAR_ITEMS: Signature((ITEM_ID, EXCLUDE, K), (*_RANKED, KNOWN)),
    SIMILAR_ITEMS_WITH_RULES: Signature((ITEM_ID, EXCLUDE, K, *RULES), (*_RANKED, KNOWN)),
    SCORE: Signature((USER_ID, HISTORY, CANDIDATES), (SCORES,)),
    SCORE_IN_CONTEXT: Signature((USER_ID, HISTORY, CANDIDATES, CONTEXT), (SCORES,)),
    EXPLAIN: Signature((USER_ID, HISTORY, CANDIDATES), _EXPLAINED),
    EXPLAIN_IN_CONTEXT: Signature((USER_ID, HISTORY, CANDIDATES, CONTEXT), _EXPLAINED),
    BY_USER: Signature((USER_ID,), _RANKED),
    DEFAULT: Signature((EXAMPLES,), _RANKED),
    DESCRIBE: Signature((ITEM_ID,), (DISPLAY, KNOWN)),
    EMBED_ITEMS: Signature((ITEM_ID,), (EMBEDDING, BIAS, KNOWN)),
    EMBED_QUERIES: Signature((USER_ID, HISTORY, CONTEXT), (EMBEDDING, KNOWN, SEEN)),
    RETRIEVE: Signature((*_WHO, CONTEXT), (*_RANKED, SOURCE)),
    AUDIENCE: Signature(_WHAT, _OF_USERS),
    AUDIENCE_WITH_RULES: Signature((*_WHAT, ALLOW, FILTER), _OF_USERS),
    SIMILAR_USERS: Signature((USER_ID, EXCLUDE, K), _OF_USERS),
    RECOMMEND_FOR_TASKS: Signature((*_WHO, CONTEXT, *RULES, *_TASKS), (*_RANKED, SOURCE)),
    RECOMMEND_EXAMPLES_FOR_TASKS: Signature((EXAMPLES,), (*_RANKED, SOURCE)),
    EXPLAIN_FOR_TASKS: Signature((USER_ID, HISTORY, CANDIDATES, CONTEXT, *_TASKS), _EXPLAINED),
    RECOMMEND_LEAVING_OUT: Signature((*_WHO, CONTEXT, *RULES, *_TASKS, LEAVE_OUT), (*_RANKED, SOURCE)),
    RECOMMEND_EXAMPLES_LEAVING_OUT: Signature((EXAMPLES,), (*_RANKED, SOURCE)),
}
"""All signatures, of which a model has those that `signatures` says."""
IN_CONTEXT = (RECOMMEND_IN_CONTEXT, SCORE_IN_CONTEXT, EXPLAIN_IN_CONTEXT)
OF_USERS = (AUDIENCE, AUDIENCE_WITH_RULES, SIMILAR_USERS)
LEAVING_OUT = (RECOMMEND_LEAVING_OUT, RECOMMEND_EXAMPLES_LEAVING_OUT)
FOR_TASKS = (RECOMMEND_FOR_TASKS, RECOMMEND_EXAMPLES_FOR_TASKS, EXPLAIN_FOR_TASKS)


def signatures(in_context: bool, of_users: bool, for_tasks: bool) -> list[str]:
    """Returns the names of a model's signatures.

    Args:
        in_context: Whether it takes a context: else those `IN_CONTEXT` are not there.
        of_users: Whether it was made with `serving.audience`: else those `OF_USERS` are not there.
        for_tasks: Whether it has tasks: else those `FOR_TASKS` are not there.
    """
    absent = (() if in_context else IN_CONTEXT, () if of_users else OF_USERS, () if for_tasks else FOR_TASKS)
    left_out = {name for names in absent for name in names}
    return [name for name in SIGNATURES if name not in left_out]


NO_SCORE = -(2 - 2**-23) * 2.0**127
"""The least float32: the score of padding, and of an item that the index lacks. Servables from before it was so have
-inf, which JSON can't tell."""

FORMAT = 1
"""The format of recommender.json that the Indexer writes: more with each change that an older reader can't take."""
FORMAT_KEY = "format"


class NewerFormat(ValueError):
    """A servable was made by a newer version of this project."""


def read_manifest(version: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the recommender.json of a version in a local folder, see `parse_manifest`.

    Raises:
        OSError: it can't be read; FileNotFoundError, there is none.
        ValueError: as `parse_manifest`.
    """
    path = Path(version, MANIFEST)
    return parse_manifest(path.read_bytes(), str(path))


def parse_manifest(content: bytes, where: str) -> dict[str, Any]:
    """Reads the content of a recommender.json that lies `where`, which messages begin with.

    Format 0 is that of servables from before there was a number; its keys are those of format 1.

    Raises:
        NewerFormat: its format is above `FORMAT`.
        ValueError: it is damaged.
    """
    try:
        found = json.loads(content)
        number = found.get(FORMAT_KEY, 0)
        newer = number > FORMAT
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{where}: damaged: {error}") from None
    if newer:
        raise NewerFormat(
            f"{where}: format {number}, made by a newer version of this project; this one reads formats up to {FORMAT}:"
            " update it"
        )
    return found
