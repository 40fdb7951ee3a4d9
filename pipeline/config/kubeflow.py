"""Settings of the pipeline on Kubeflow Pipelines, free of TFX and of kfp so that the command line starts fast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from components.errors import InputError
from components.settings import Settings

OBJECT_STORES = ("gs://", "s3://", "minio://")
"""What Kubeflow Pipelines keeps artifacts in."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")
_UNITS = {
    **{"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15},
    **{"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50},
}
_DURATION = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_KUBERNETES_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def quantity(text: str) -> float:
    """Returns a Kubernetes quantity as a number: "500m" is 0.5, "2Gi" 2147483648.

    Raises:
        ValueError: It is none.
    """
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is no Kubernetes quantity, such as 2, 500m, 512Mi or 4Gi")
    return float(match[1]) * _UNITS[match[2]]


def seconds(text: str) -> int:
    """Returns a duration such as 90s, 30m, 2h or 1d in seconds.

    Raises:
        ValueError: It is none.
    """
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal()) or unit not in _DURATION:
        raise ValueError(f"{text!r} is no duration, such as 90s, 30m, 2h or 1d")
    return int(number) * _DURATION[unit]


def _cpu(text: str) -> str:
    if quantity(text) < 0.001:
        raise ValueError(f"{text!r} is less than a thousandth of a CPU; write cores, such as 2 or 500m")
    return text


def _memory(text: str) -> str:
    if quantity(text) < 2**20:
        raise ValueError(f"{text!r} is less than one MiB; write bytes with a unit, such as 512Mi or 4Gi")
    return text


def _duration(text: str) -> str:
    seconds(text)
    return text


def _place(path: str) -> str:
    """Checks that a path means the same on every machine of a cluster."""
    if path and not path.startswith("/") and "://" not in path:
        raise ValueError(f"{path!r} is relative: name an absolute path on a mounted volume, or a URI")
    return path


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


_Quantity = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
Cpu = Annotated[str, BeforeValidator(_text), AfterValidator(_cpu), _Quantity]
Memory = Annotated[str, BeforeValidator(_text), AfterValidator(_memory), _Quantity]
Duration = Annotated[str, AfterValidator(_duration)]
Place = Annotated[str, AfterValidator(_place)]
ResourceName = Annotated[str, Field(pattern=_KUBERNETES_NAME, max_length=253)]
MountPath = Annotated[str, Field(pattern=r"^/[^:]+$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class CpuSettings(Settings):
    """CPU of a node's container."""

    request: Optional[Cpu] = None
    """Cores that the scheduler sets aside, such as 2 or 500m."""

    limit: Optional[Cpu] = None
    """Most cores that it may use."""

    @model_validator(mode="after")
    def _ordered(self) -> CpuSettings:
        return _check_order(self)


class MemorySettings(Settings):
    """Memory of a node's container."""

    request: Optional[Memory] = None
    """Bytes that the scheduler sets aside, such as 512Mi or 4Gi."""

    limit: Optional[Memory] = None
    """Bytes above which it is killed."""

    @model_validator(mode="after")
    def _ordered(self) -> MemorySettings:
        return _check_order(self)


def _check_order(resource: Any) -> Any:
    if resource.request and resource.limit and quantity(resource.request) > quantity(resource.limit):
        raise ValueError(f"the request {resource.request} is more than the limit {resource.limit}")
    return resource


class Accelerator(Settings):
    """Accelerators of a node's container."""

    type: str = Field(min_length=1)
    """The name of the resource in the cluster, such as nvidia.com/gpu, or Vertex AI's, such as NVIDIA_TESLA_T4."""

    count: int = Field(1, ge=1)
    """How many."""


class Toleration(Settings):
    """A taint of machines that a node's pod tolerates."""

    key: str = ""
    """The taint's key; empty: any."""

    operator: Literal["Equal", "Exists"] = "Exists"
    """Whether its value must be equal, or the key there."""

    value: str = ""
    """The taint's value."""

    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """The taint's effect; empty: any."""


class NodeSettings(Settings):
    """How a node of the DAG runs in the cluster."""

    cpu: CpuSettings = CpuSettings()
    """CPU."""

    memory: MemorySettings = MemorySettings()
    """Memory."""

    accelerator: Optional[Accelerator] = None
    """Accelerators, if any."""

    retries: int = Field(2, ge=0, le=100)
    """How often a node that failed is tried again."""

    backoff: Duration = "60s"
    """The wait before the first of these tries; it doubles with each."""

    timeout: Optional[Duration] = None
    """The time after which a try is stopped."""

    cache: Optional[bool] = None
    """Whether the node is skipped when it ran before with the same inputs and parameters. By default as the config's
    `cache` says, but for nodes that look at the world outside (data files, the base path): these always run."""

    node_selector: Mapping[str, str] = {}
    """Labels of the machines that it may run on."""

    tolerations: tuple[Toleration, ...] = ()
    """Taints of machines that it tolerates."""


class Volume(Settings):
    """A PersistentVolumeClaim that nodes mount."""

    claim: ResourceName
    """The claim's name, in the namespace of the runs."""

    mount_path: MountPath
    """Where it is mounted."""

    sub_path: str = ""
    """The folder of the volume to mount; empty: all of it."""

    nodes: tuple[str, ...] = ()
    """The nodes that mount it; none: all."""


class Secret(Settings):
    """A Secret that nodes see."""

    name: ResourceName
    """The Secret's name, in the namespace of the runs."""

    env: Mapping[EnvName, str] = {}
    """Environment variables and the Secret's keys that they hold."""

    mount_path: Optional[MountPath] = None
    """Where its keys are mounted as files, instead."""

    nodes: tuple[str, ...] = ()
    """The nodes that see it; none: all."""

    @model_validator(mode="after")
    def _seen_somehow(self) -> Secret:
        if bool(self.env) == bool(self.mount_path):
            raise ValueError(f"secret {self.name}: give either env or mount_path")
        return self


class PromoteSettings(Settings):
    """The last node, which moves a label to the version that was pushed."""

    label: Literal["stable", "canary"] = "stable"
    """The label."""

    approved: bool = False
    """Whether it may. Without, the node only says what it would do; a run is approved by the run-time parameter
    `promote_approved`."""

    replicas: tuple[str, ...] = ()
    """The model servers as the cluster sees them, host:port of gRPC each; dns:///name:port stands for all pods of a
    headless Service. None: only the config that they read is written."""


class TriggerSettings(Settings):
    """What `recommender trigger` looks at."""

    partitions: Place = ""
    """A glob of the log's partitions; a run starts when the newest is another than the last run's."""


LIKE = {
    "Guards": "Champion",
    "ShippedTransform": "Transform",
    "ShippedTrainer": "Trainer",
    "ShippedIndexer": "Indexer",
}
"""Nodes that have what another one has, where nothing else is said: they do the same, or look at the same place, and
many a config is older than they are."""


class KubeflowSettings(Settings):
    """The pipeline on Kubeflow Pipelines. Paths are as the cluster sees them."""

    image: str = Field("", pattern=r"^$|^[a-z0-9]([-a-z0-9._:/]*[a-z0-9])?(:[A-Za-z0-9._-]+)?$")
    """The image that all nodes run in."""

    image_digest: str = Field("", pattern=r"^$|^sha256:[0-9a-f]{64}$")
    """Its digest, so that a run next year takes the same one."""

    pipeline_root: Place = ""
    """Where artifacts lie: gs://, s3:// or minio://; empty: the cluster's default."""

    base_path: Place = ""
    """Versions are pushed to `<base_path>/<name>/<version>`: a path on one of `volumes`, gs:// or s3://."""

    interactions_path: Place = ""
    """The log's files; by default the config's `data.interactions.path`."""

    users_path: Place = ""
    """The files of the users; by default the config's."""

    catalogue_path: Place = ""
    """The catalogue's files; by default the config's."""

    checkpoints: Optional[MountPath] = None
    """A folder on one of `volumes` where the Trainer saves each pass, so that a retry goes on where it was."""

    suppression: Optional[MountPath] = None
    """The list of users whom `recommender forget` has forgotten, on one of `volumes`, its key beside it: what
    `privacy.suppression` is where that command is run. By default runs read all users' events."""

    volumes: tuple[Volume, ...] = ()
    """Volumes."""

    secrets: tuple[Secret, ...] = ()
    """Secrets, for object stores for instance."""

    env: Mapping[EnvName, str] = {}
    """Environment variables of all nodes."""

    service_account: str = ""
    """Kubernetes service account of the runs; empty: the cluster's default."""

    defaults: NodeSettings = NodeSettings()
    """What holds for all nodes."""

    nodes: Mapping[str, NodeSettings] = {}
    """What holds for a node, by its name; a key given here replaces that of `defaults`."""

    promote: Optional[PromoteSettings] = PromoteSettings()
    """The node that promotes; null: there is none."""

    host: str = ""
    """The API of Kubeflow Pipelines, such as http://localhost:8080."""

    namespace: str = ""
    """The namespace of the runs, where there are several."""

    experiment: str = ""
    """The experiment of the runs; by default the config's name."""

    schedule: str = ""
    """A cron expression (five fields, UTC) of recurring runs."""

    trigger: TriggerSettings = TriggerSettings()
    """What a run is started by when it is new."""

    def node(self, name: str) -> NodeSettings:
        """The settings of a node: its own keys, else those of the node that it is like, else the defaults'."""
        found = self.defaults
        for part in (LIKE.get(name, name), name):
            own = self.nodes.get(part, NodeSettings())
            found = found.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
        return found

    def image_reference(self) -> str:
        """The image by its digest, or else by its tag.

        Raises:
            InputError: None is named.
        """
        if not self.image:
            raise InputError(
                "kubeflow.image: missing; name the image that nodes run in, such as registry/recommender:1"
            )
        return f"{self.image}@{self.image_digest}" if self.image_digest else self.image

    @model_validator(mode="after")
    def _places_fit(self) -> KubeflowSettings:
        if self.pipeline_root and not self.pipeline_root.startswith(OBJECT_STORES):
            raise ValueError(f"pipeline_root {self.pipeline_root}: must begin with one of {', '.join(OBJECT_STORES)}")
        if "://" in self.base_path and not self.base_path.startswith(("gs://", "s3://")):
            raise ValueError(f"base_path {self.base_path}: of object stores, TensorFlow Serving reads gs:// and s3://")
        return self
