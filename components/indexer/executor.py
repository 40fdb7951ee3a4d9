"""The Indexer's executor."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts import NOT_SHIPPED, Artifacts
from components.examples.reading import has_split
from components.indexer.index import Index, build_index
from components.indexer.measure import read_queries
from components.indexer.saving import save_servable
from components.indexer.settings import IndexerSettings
from serving import contract


@dataclass(frozen=True)
class Parts:
    """What a servable is made of."""

    towers_dir: str
    towers: Any
    """Loaded."""
    index: Index
    settings: IndexerSettings


def read_parts(input_dict: Artifacts, exec_properties: Mapping[str, Any]) -> Parts:
    """Embeds the catalogue and gathers histories and popularity; the arguments are those of the executor."""
    settings = IndexerSettings.model_validate_json(exec_properties["settings"])
    towers_dir = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["towers"]))
    towers = tf.saved_model.load(towers_dir)  # which takes a second, and is wanted three times
    index = build_index(
        towers_dir,
        artifact_utils.get_single_uri(input_dict["catalogue"]),
        artifact_utils.get_single_uri(input_dict["interactions"]),
        settings.stored_history,
        settings.similar,
        json.loads(exec_properties["filter_types"]),
        settings.only_listed,
        exec_properties.get("trained_catalogue") or "",
        towers,
        settings.exclude,
    )
    return Parts(towers_dir, towers, index, settings)


class Executor(base_executor.BaseExecutor):
    """Writes the servable."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Makes the servable of its parts and saves it, if there are towers and events."""
        towers_dir = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["towers"]))
        output = artifact_utils.get_single_instance(output_dict["model"])
        interactions = artifact_utils.get_single_instance(input_dict["interactions"])
        there = tf.io.gfile.exists(os.path.join(towers_dir, contract.SAVED_MODEL)) and has_split(interactions, "train")
        if not there:
            output.set_string_custom_property("summary", NOT_SHIPPED)
            return
        parts = read_parts(input_dict, exec_properties)
        manifest = save_servable(
            parts.towers_dir,
            parts.index,
            parts.settings,
            exec_properties["model_name"],
            path_utils.serving_model_dir(output.uri),
            read_queries(artifact_utils.get_single_uri(input_dict["interactions"]), parts.settings.index.queries),
            exec_properties.get("code") or "",
            parts.towers,
        )
        output.set_string_custom_property("fingerprint", manifest["fingerprint"])
        output.set_string_custom_property(
            "summary",
            f"{manifest['num_items']:,} items x {manifest['dim']}, {manifest['num_users']:,} users with histories, "
            f"fingerprint {manifest['fingerprint'][:12]}{_shown(manifest['index'])}",
        )
        for name, value in manifest["index"].items():
            if isinstance(value, float):
                output.set_float_custom_property(f"index_{name}", value)


def _shown(index: Mapping[str, Any]) -> str:
    """What the terminal says of an approximate index."""
    if "recall" not in index:
        return ""
    return (
        f"; {index['type']}: recall@{index['k']} {index['recall']:.3f} on {index['queries']:,} queries, "
        f"p50 {index['latency_ms']:.1f} ms (exact {index['exact_latency_ms']:.1f} ms)"
    )
