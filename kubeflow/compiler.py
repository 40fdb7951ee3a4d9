"""Compiles the DAG for Kubeflow Pipelines: TFX's own compiler, and what it leaves out, from the config."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.data_types import PipelineInfo, RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline
from tfx.types import artifact, standard_artifacts
from tfx.utils import name_utils

from components.drivers.exec_properties import ExecPropertiesDriver
from components.errors import InputError
from pipeline.beam_args import WORKERS_CODE
from pipeline.config import BeamConfig, Config
from pipeline.config.kubeflow import LIKE, KubeflowSettings, NodeSettings, Secret, Volume, quantity, seconds
from pipeline.pipeline import Paths, create_pipeline

Json = dict[str, Any]

_COMMAND = ("python", "-m", "kubeflow.entrypoint")
_RUNNERS = ("FnApiRunner", "DirectRunner", "PrismRunner")
"""Beam's runners that work inside a container."""

_SYSTEM_TYPES: dict[type[artifact.Artifact], str] = {
    standard_artifacts.Examples: "system.Dataset",
    standard_artifacts.Model: "system.Model",
    standard_artifacts.ModelEvaluation: "system.Metrics",
}
"""Types that Kubeflow's dashboard knows; all others are system.Artifact there, and TFX's types in our containers."""


def compile_pipeline(config: Config) -> tuple[Json, Json]:
    """Compiles a config's DAG.

    Returns:
        Vertex AI's PipelineJob, whose `pipelineSpec` is what open-source KFP runs too, and the PlatformSpec with what
        only Kubernetes knows (volumes, secrets, time-outs), empty without such.

    Raises:
        InputError: A key of `kubeflow` is missing or doesn't fit the DAG.
    """
    settings = config.kubeflow
    image = settings.image_reference()
    parameters = _parameters(config)
    dag = create_pipeline(_with_image(config, image), _paths(config), parameters)
    dag.pipeline_info = PipelineInfo(pipeline_name(config), settings.pipeline_root)
    _check_names(settings, [component.id for component in dag.components])
    _check_places(config, parameters)
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image=image, default_commands=list(_COMMAND), use_pipeline_spec_2_1=True)
    )
    job = runner.run(dag, write_out=False)
    spec = job["pipelineSpec"]
    if settings.pipeline_root:
        spec["defaultPipelineRoot"] = settings.pipeline_root
    for name, definition in spec["root"]["inputDefinitions"]["parameters"].items():
        definition.update(defaultValue=parameters[name].default, isOptional=True)
    platform = {}
    for component in dag.components:
        label = spec["components"][component.id]["executorLabel"]
        _complete(component, spec, spec["deploymentSpec"]["executors"][label]["container"], config, dag)
        kubernetes = _kubernetes(component.id, settings)
        if kubernetes:
            platform[label] = kubernetes
    return job, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}} if platform else {}


def write_pipeline(config: Config, out: Path) -> None:
    """Compiles a config's DAG to a file; the same config gives the same bytes.

    Args:
        config: The config.
        out: `.yaml` for open-source KFP, `.json` for Vertex AI.

    Raises:
        InputError: The config can't be compiled, or the file can't be written.
    """
    if out.suffix not in (".yaml", ".yml", ".json"):
        raise InputError(f"{out}: must end with .yaml, for Kubeflow Pipelines, or .json, for Vertex AI")
    if out.suffix == ".json" and not config.kubeflow.pipeline_root.startswith("gs://"):
        raise InputError("kubeflow.pipeline_root: Vertex AI keeps artifacts in Google's store only: name a gs:// URI")
    job, platform = compile_pipeline(config)
    if out.suffix == ".json":
        if platform:
            raise InputError(
                "kubeflow: Vertex AI has no volumes, secrets, timeout, node_selector and tolerations: leave them out"
            )
        text = json.dumps(job, indent=2, sort_keys=True) + "\n"
    else:
        text = yaml.safe_dump_all([job["pipelineSpec"], *([platform] if platform else [])], sort_keys=True, width=120)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: can't be written: {error.strerror}") from None


def pipeline_name(config: Config) -> str:
    """Returns the pipeline's name in Kubeflow, which knows small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]", "-", config.name.lower())


def _parameters(config: Config) -> dict[str, RuntimeParameter]:
    """The run-time parameters, with what the config says as defaults."""
    settings, log = config.kubeflow, config.data.interactions
    values: dict[str, str | int] = {
        "interactions_path": _data_path("interactions", settings.interactions_path, log.path, config),
        "base_path": settings.base_path,
        "cutoff": log.cutoff,
        "epochs": config.training.epochs,
        "accept": "",
    }
    if log.users is not None:
        values["users_path"] = _data_path("users", settings.users_path, log.users.path, config)
    if config.data.catalogue.path or settings.catalogue_path:
        values["catalogue_path"] = _data_path("catalogue", settings.catalogue_path, config.data.catalogue.path, config)
    if settings.promote is not None:
        values["promote_label"] = settings.promote.label
        values["promote_approved"] = str(settings.promote.approved).lower()
    return {name: RuntimeParameter(name=name, ptype=type(value), default=value) for name, value in values.items()}


def _data_path(what: str, given: str, configured: str, config: Config) -> str:
    """Where the cluster finds some data: as given for it, or as configured if that means the same everywhere."""
    if given:
        return given
    if config.data.dataset is not None:
        raise InputError(
            f"kubeflow.{what}_path: missing; data.dataset {config.data.dataset} is fetched to this machine only: copy "
            "its files to a volume or an object store and name them here"
        )
    _check_everywhere(f"kubeflow.{what}_path: missing; {configured}", configured)
    return configured


def _check_everywhere(what: str, path: str) -> None:
    if path and not path.startswith("/") and "://" not in path:
        raise InputError(
            f"{what} is relative, which means nothing in the cluster: name an absolute path on a volume, or a URI"
        )


def _paths(config: Config) -> Paths:
    evaluation = config.data.interactions.split.eval_path or ""
    _check_everywhere(f"data.interactions.split.eval_path: {evaluation}", evaluation)
    for key, path in _vector_files(config).items():
        _check_everywhere(f"{key}: {path}", path)
    return Paths(
        artifacts=config.kubeflow.pipeline_root,
        base_path="",
        interactions="",
        users="",
        catalogue="",
        evaluation=evaluation,
        checkpoints=config.kubeflow.checkpoints or "",
        suppression=config.kubeflow.suppression or "",
    )


def _vector_files(config: Config) -> dict[str, str]:
    """The files of the vectors that are given for items, by key."""
    matrices = config.data.catalogue.matrices()
    return {
        f"data.catalogue.features.{name}.{key}": getattr(feature, key)
        for name, feature in matrices.items()
        for key in ("path", "ids")
    }


def _with_image(config: Config, image: str) -> Config:
    """The config with Beam told that its workers have the code: without, TFX packs itself up before every node."""
    arguments = config.beam.pipeline_args
    given = re.search(r"--runner[= ](\S+)", " ".join(arguments))
    if given and given[1] not in _RUNNERS:
        raise InputError(
            f"beam.pipeline_args: {given[1]} has its workers elsewhere, where the files of a node's container are not; "
            f"name one of {', '.join(_RUNNERS)}, for instance with --set 'beam.pipeline_args=[--runner=FnApiRunner]'"
        )
    if any(WORKERS_CODE.match(argument) for argument in arguments):
        return config
    beam = BeamConfig(pipeline_args=(*arguments, f"--sdk_container_image={image}"))
    return config.model_copy(update={"beam": beam})


def _check_names(settings: KubeflowSettings, nodes: list[str]) -> None:
    """Makes sure that the nodes that the config names are there."""
    named = [("nodes", name) for name in settings.nodes]
    named += [(f"volumes[{volume.claim}].nodes", name) for volume in settings.volumes for name in volume.nodes]
    named += [(f"secrets[{secret.name}].nodes", name) for secret in settings.secrets for name in secret.nodes]
    for key, name in named:
        if name not in nodes:
            raise InputError(f"kubeflow.{key}: no node {name!r}; the nodes are: {', '.join(nodes)}")


def _check_places(config: Config, parameters: dict[str, RuntimeParameter]) -> None:
    """Makes sure that a path is on a volume of each node that uses it, and does not vanish with a container."""
    settings = config.kubeflow
    if not settings.base_path:
        raise InputError(
            "kubeflow.base_path: missing; name a path on one of kubeflow.volumes, gs:// or s3:// to push versions to"
        )
    defaults = {name: str(parameter.default) for name, parameter in parameters.items()}
    users = {
        "kubeflow.interactions_path": (defaults["interactions_path"], ["InteractionGen"]),
        "kubeflow.users_path": (defaults.get("users_path", ""), ["InteractionGen"]),
        "data.interactions.split.eval_path": (config.data.interactions.split.eval_path or "", ["InteractionGen"]),
        "kubeflow.catalogue_path": (defaults.get("catalogue_path", ""), ["CatalogueGen"]),
        **{key: (path, ["CatalogueGen"]) for key, path in _vector_files(config).items()},
        "kubeflow.suppression": (settings.suppression or "", ["InteractionGen"]),
        "kubeflow.checkpoints": (settings.checkpoints or "", ["Trainer", *_shipped("Trainer", config)]),
        "kubeflow.base_path": (
            settings.base_path,
            ["Champion", "Guards", "Pusher", *(["Promoter"] if settings.promote is not None else [])],
        ),
    }
    for key, (path, nodes) in users.items():
        for node in nodes:
            mounted = [volume.mount_path for volume in _of(node, settings.volumes)]
            if path.startswith("/") and not any(_inside(path, folder) for folder in mounted):
                raise InputError(
                    f"{key}: {path} is on no volume that {node} mounts, so it would not be there or vanish with the "
                    "container; name a claim in kubeflow.volumes"
                )


def _inside(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _of(node: str, things: tuple[Any, ...]) -> Iterator[Any]:
    """The volumes or secrets of a node, with those of the node that it is like."""
    names = {node, LIKE.get(node, node)}
    return (thing for thing in things if not thing.nodes or names.intersection(thing.nodes))


def _shipped(node: str, config: Config) -> list[str]:
    """The node that does the same for the model that is shipped, if there is one."""
    return [f"Shipped{node}"] if config.serving.ship == "all" else []


def _complete(component: BaseComponent, spec: Json, container: Json, config: Config, dag: Pipeline) -> None:
    """Adds what TFX's compiler leaves out to a node's task, its types and its container."""
    node = config.kubeflow.node(component.id)
    task, definition = spec["root"]["dag"]["tasks"][component.id], spec["components"][component.id]
    for side, channels in (("inputDefinitions", component.spec.inputs), ("outputDefinitions", component.spec.outputs)):
        for name, described in definition.get(side, {}).get("artifacts", {}).items():
            title = _SYSTEM_TYPES.get(channels[name].type, "system.Artifact")
            described["artifactType"] = {"schemaTitle": title, "schemaVersion": "0.0.1"}
    cached = config.cache and not issubclass(component.DRIVER_CLASS, ExecPropertiesDriver)
    task["cachingOptions"] = {"enableCache": True} if (cached if node.cache is None else node.cache) else {}
    if node.retries:
        task["retryPolicy"] = {
            "maxRetryCount": node.retries,
            "backoffDuration": f"{seconds(node.backoff)}s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "3600s",
        }
    container["args"] = [
        *("--node", component.id),
        *("--component", name_utils.get_full_name(type(component))),
        *("--executor_input", "{{$}}"),
        "--",
        *dag.beam_pipeline_args,
    ]
    resources = _resources(node)
    if resources:
        container["resources"] = resources
    if config.kubeflow.env:
        container["env"] = [{"name": name, "value": value} for name, value in sorted(config.kubeflow.env.items())]


def _resources(node: NodeSettings) -> Json:
    """KFP's ResourceSpec: cores, and gigabytes of a thousand megabytes.

    As numbers and not, as the newest KFP also has it, as text: older ones and Vertex AI read these only.
    """
    amounts = {
        "cpuRequest": node.cpu.request and quantity(node.cpu.request),
        "cpuLimit": node.cpu.limit and quantity(node.cpu.limit),
        "memoryRequest": node.memory.request and quantity(node.memory.request) / 1e9,
        "memoryLimit": node.memory.limit and quantity(node.memory.limit) / 1e9,
    }
    resources: Json = {name: amount for name, amount in amounts.items() if amount}
    if node.accelerator:
        resources["accelerator"] = {"type": node.accelerator.type, "count": str(node.accelerator.count)}
    return resources


def _kubernetes(name: str, settings: KubeflowSettings) -> Json:
    """The KubernetesExecutorConfig of a node."""
    node = settings.node(name)
    secrets: list[Secret] = list(_of(name, settings.secrets))
    volumes: list[Volume] = list(_of(name, settings.volumes))
    config = {
        "pvcMount": [
            {"constant": volume.claim, "mountPath": volume.mount_path}
            | ({"subPath": volume.sub_path} if volume.sub_path else {})
            for volume in volumes
        ],
        "secretAsEnv": [
            {
                "secretName": secret.name,
                "keyToEnv": [{"secretKey": key, "envVar": variable} for variable, key in sorted(secret.env.items())],
            }
            for secret in secrets
            if secret.env
        ],
        "secretAsVolume": [
            {"secretName": secret.name, "mountPath": secret.mount_path} for secret in secrets if secret.mount_path
        ],
        "nodeSelector": {"labels": dict(node.node_selector)} if node.node_selector else {},
        "tolerations": [{key: value for key, value in t.model_dump().items() if value} for t in node.tolerations],
        "activeDeadlineSeconds": str(seconds(node.timeout)) if node.timeout else "",
    }
    return {key: value for key, value in config.items() if value}
