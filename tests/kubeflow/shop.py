"""A small pipeline that is submitted, and what Kubeflow Pipelines says of its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kubeflow.submit import Package

PARAMETERS = {
    "accept": {"parameterType": "STRING", "defaultValue": ""},
    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 20},
    "cutoff": {"parameterType": "STRING", "defaultValue": ""},
    "promote_approved": {"parameterType": "STRING", "defaultValue": "false"},
    "share": {"parameterType": "NUMBER_DOUBLE"},
    "flag": {"parameterType": "BOOLEAN"},
}


def a_package(**more: Any) -> Package:
    """A pipeline of two nodes."""
    tasks = {"InteractionGen": {}, "Trainer": {}}
    spec = {
        "pipelineInfo": {"name": "shop"},
        "root": {"inputDefinitions": {"parameters": PARAMETERS}, "dag": {"tasks": tasks}},
        **more,
    }
    return Package(yaml.safe_dump(spec).encode(), spec)


def config_file(folder: Path, host: str, **kubeflow: Any) -> Path:
    path = folder / "shop.yaml"
    data = {"interactions": {"path": "/srv/data/log.csv", "columns": {"user_id": "u", "item_id": "i"}}}
    path.write_text(yaml.safe_dump({"name": "shop", "data": data, "kubeflow": {"host": host, **kubeflow}}))
    return path


def task(name: str, state: str) -> dict[str, Any]:
    return {
        "display_name": name,
        "state": state,
        "start_time": "2026-11-22T03:00:00Z",
        "end_time": "2026-11-22T03:00:07Z",
    }


def progress(state: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"state": state, "run_details": {"task_details": list(tasks)}, **more}
