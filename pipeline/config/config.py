"""The config file: one YAML a data set, read into typed models in which every key has a default or a clear error.

The settings of a component are defined beside it; this module only composes them. It imports no TensorFlow, so that
`recommender validate` and the serving commands start fast.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import hashlib
import os
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from components.catalogue_gen.settings import CatalogueSettings
from components.errors import InputError
from components.evaluator.settings import EvaluatorSettings
from components.guards.settings import GuardSettings
from components.indexer.settings import AnswerSettings, ExportSettings, IndexerSettings
from components.interaction_gen.settings import InteractionSettings, Users
from components.servable_validator.settings import ServableValidatorSettings
from components.settings import Settings
from components.tables.features import Feature
from pipeline.config import environment
from pipeline.config.feedback import FeedbackSettings
from pipeline.config.incremental import IncrementalSettings
from pipeline.config.kubeflow import KubeflowSettings
from pipeline.config.metadata import MetadataSettings
from pipeline.config.nightly import VARIABLE, NightlySettings
from pipeline.config.privacy import PrivacySettings
from pipeline.config.retention import RetentionSettings
from pipeline.config.tuning import TuningSettings
from pipeline.model.settings import ModelSettings, TrainingSettings, check_together
from pipeline.variables import WORK
from serving import contract
from serving.stores import AnyPath, ObjectPath, as_path, is_object


def _directory(path: Any) -> AnyPath:
    if not isinstance(path, (str, Path, ObjectPath)):
        raise ValueError("must be a path")
    if isinstance(path, ObjectPath) or is_object(path):
        if not str(path).partition("://")[2].partition("/")[0]:
            raise ValueError("must name its bucket, as s3://bucket/models")
        return as_path(path)
    if str(path).startswith(("s3:", "gs:")):  # as a plain path, the folder s3: here
        raise ValueError("a store is written with two slashes, as s3://bucket/models")
    if "://" in str(path):  # as a plain path, hdfs://host would become the folder hdfs: here
        raise ValueError("must be a local or mounted directory, or one in s3:// or gs://")
    return Path(path)


def _as_text(time: Any) -> Any:
    return time.isoformat() if isinstance(time, datetime.date) else time


IsoTime = Annotated[str, BeforeValidator(_as_text)]
"""A time as text; YAML makes a date of one without quotes."""

Directory = Annotated[
    AnyPath,
    PlainValidator(_directory),
    PlainSerializer(lambda path: str(path) if is_object(path) else path),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""A directory of this machine, or in an object store."""


class UsersConfig(Users):
    """A table of users, whose features are joined onto their events."""

    path: str = Field(min_length=1)
    """The files, as for the log."""


class InteractionsConfig(InteractionSettings):
    """The log: where it is, and how it is read."""

    path: str = Field(min_length=1)
    """The files: a path, a folder or a glob of CSV, JSON lines, Parquet or TFRecord files."""

    users: Optional[UsersConfig] = None
    """The table of users, if there is one."""

    cutoff: IsoTime = ""
    """An ISO 8601 time that splits training from evaluation, instead of `split.eval_fraction`."""

    def settings(self) -> InteractionSettings:
        """The part that is InteractionGen's own, without paths."""
        values = {name: getattr(self, name) for name in InteractionSettings.model_fields}
        if self.users is not None:
            values["users"] = Users(**{name: getattr(self.users, name) for name in Users.model_fields})
        return InteractionSettings(**values)


class CatalogueConfig(CatalogueSettings):
    """The catalogue: where it is, and how it is read."""

    path: str = ""
    """The files, as for the log; without them the items are those of the log, without features."""

    def settings(self) -> CatalogueSettings:
        """The part that is CatalogueGen's own, without the path."""
        return CatalogueSettings(**{name: getattr(self, name) for name in CatalogueSettings.model_fields})


class DataConfig(Settings):
    """The data."""

    dataset: Optional[str] = None
    """A named data set to fetch (`movielens-100k`); the paths below are then inside it."""

    interactions: InteractionsConfig
    """The log of interactions."""

    catalogue: CatalogueConfig = CatalogueConfig()
    """The items."""


class TlsConfig(Settings):
    """TLS to the model servers; all are paths of PEM files."""

    ca: Optional[str] = None
    """The authorities to trust; by default gRPC's own."""

    certificate: Optional[str] = None
    """The certificate that promotion shows, if the servers ask for one."""

    key: Optional[str] = None
    """Its private key."""

    server_name: Optional[str] = None
    """The name in the servers' certificates, if it isn't their host."""


class ServingConfig(AnswerSettings):
    """Where versions are pushed, where they are served, and what the servable answers."""

    base_path: Directory = Path("output/models")
    """Versions are pushed to `<base_path>/<name>/<version>`: in a local or mounted directory, or in s3:// or gs://."""

    host: str = "127.0.0.1"
    """Address that the model server listens on and that queries go to."""

    port: int = Field(8500, ge=0, le=65535)
    """Port of gRPC; 0 picks a free one."""

    rest_port: int = Field(8501, ge=0, le=65535)
    """Port of REST; 0 picks a free one."""

    replicas: tuple[str, ...] = ()
    """`host:port` of gRPC of every server of the model, which promotion changes all or none; `dns:///name:port` stands
    for all addresses of a name. By default the one at `host` and `port`."""

    tls: Optional[TlsConfig] = None
    """How promotion reaches servers that speak TLS."""

    ship: Literal["all", "judged"] = "all"
    """What is pushed once a model is blessed. all: a model that is trained like it on all events, those of the
    evaluation too, and knows all histories, popular and new items to this day; see docs/architecture.md. judged: the
    very model that was judged, which lacks the newest events but takes no second training."""

    retain: Optional[int] = Field(None, ge=1)
    """How many versions are kept: when a new one is pushed, the oldest are deleted, but none that models.config names,
    nor the newest. null keeps all."""

    def target(self, port: int) -> str:
        """Where the server at `host` is asked from this machine, as `host:port`.

        >>> ServingConfig(host="::").target(8500)
        '[::1]:8500'
        """
        host = self.host.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class BeamConfig(Settings):
    """How Beam runs."""

    pipeline_args: tuple[str, ...] = ("--runner=FnApiRunner",)
    """Beam's own options, for any runner that it knows. Workers elsewhere get this project by `--setup_file`, unless an
    option here already brings it."""


class Config(Settings):
    """A whole config file."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=63)
    """Name of the pipeline and of the model that it serves."""

    seed: int = Field(42, ge=0, lt=2**31)
    """Makes data, training and evaluation repeatable on one machine."""

    output: Directory = Path("output")
    """The pipeline's artifacts, metadata and logs lie in `<output>/<name>`: in a local or mounted directory, or in
    s3:// or gs://. See docs/operations.md."""

    cache: bool = True
    """Whether a node whose inputs and settings have not changed is skipped."""

    data: DataConfig
    """The log, the catalogue and how they are split."""

    model: ModelSettings = ModelSettings()
    """The towers."""

    training: TrainingSettings = TrainingSettings()
    """How they are trained."""

    incremental: Optional[IncrementalSettings] = None
    """Whether runs read and learn what is new alone; null: each begins anew."""

    tuning: TuningSettings = TuningSettings()
    """What `recommender tune` searches."""

    guards: GuardSettings = GuardSettings()
    """How far the data may be from those of the last pushed version, before anything is trained on them."""

    evaluation: EvaluatorSettings = EvaluatorSettings()
    """Metrics, slices and the thresholds of the blessing."""

    validation: ServableValidatorSettings = ServableValidatorSettings()
    """What the servable must show in the model server before it is pushed."""

    serving: ServingConfig = ServingConfig()
    """Index, base path and ports."""

    feedback: FeedbackSettings = FeedbackSettings()
    """What logged answers are held against."""

    export: ExportSettings = ExportSettings()
    """How the servable is stored."""

    nightly: NightlySettings = NightlySettings()
    """What a night does beside a run."""

    beam: BeamConfig = BeamConfig()
    """Beam."""

    metadata: MetadataSettings = MetadataSettings()
    """The store of the runs' metadata."""

    retention: RetentionSettings = RetentionSettings()
    """What `recommender gc` leaves."""

    privacy: PrivacySettings = PrivacySettings()
    """What is known and shown of users."""

    kubeflow: KubeflowSettings = KubeflowSettings()
    """The pipeline on Kubeflow Pipelines."""

    def indexer_settings(self) -> IndexerSettings:
        """What the Indexer goes by, of `serving` and `export`."""
        answers = {name: getattr(self.serving, name) for name in AnswerSettings.model_fields}
        return IndexerSettings(**answers, **self.export.model_dump())

    def place(self) -> AnyPath:
        """Where the pipeline's artifacts, metadata and logs are kept, `<output>/<name>`."""
        return self.output.absolute() / self.name

    def folder(self) -> Path:
        """Where they are worked on: there, or where that is in an object store, in a folder of this machine."""
        place = self.place()
        return place if isinstance(place, Path) else _work_folder(str(place.parent)) / self.name

    def suppression(self) -> AnyPath:
        """Where the list of users lies whom `recommender forget` has forgotten."""
        given = self.privacy.suppression
        if not given:
            return self.place() / "suppression.json"
        return as_path(given) if is_object(given) else Path(given).expanduser().absolute()

    def query_features(self) -> dict[str, str]:
        """The query tower's features and their types."""
        return {name: feature.type for name, feature in self._context().items() if name in self.model.query_features}

    def _context(self) -> dict[str, Feature]:
        log = self.data.interactions
        return {**log.features, **(log.users.features if log.users else {})}

    @model_validator(mode="after")
    def _query_features_are_there(self) -> Config:
        known = self._context()
        for name in self.model.query_features:
            if name not in known:
                raise ValueError(
                    f"model.query_features: {name!r} is no feature of the log or its users "
                    f"(there are: {', '.join(known) or 'none'})"
                )
        both = sorted(set(self.model.query_features) & set(self.model.time_features))
        if both:
            raise ValueError(f"model.query_features and model.time_features both have {', '.join(both)}")
        return self

    @model_validator(mode="after")
    def _output_has_its_metadata(self) -> Config:
        if is_object(self.output) and self.metadata.backend != "sqlite":
            raise ValueError(
                f"output: {self.output} keeps the metadata beside the artifacts, as sqlite does; a server of metadata "
                "would name artifacts before they are there: leave metadata.backend out, or take a mounted output"
            )
        return self

    @model_validator(mode="after")
    def _training_fits_the_model(self) -> Config:
        check_together(self.model, self.training, self.data.interactions.history.max_length)
        return self

    @model_validator(mode="after")
    def _tasks_have_events(self) -> Config:
        tasks, log = self.model.tasks, self.data.interactions
        if not tasks:
            return self
        if log.columns.event is None:
            raise ValueError("model.tasks needs data.interactions.columns.event, the column with the events' types")
        for name in {contract.TASKS, contract.TASK_WEIGHTS}.intersection(self.model.query_features):
            raise ValueError(
                f"model.query_features: {name!r} is what a request with weights of tasks calls them; rename the feature"
            )
        learned = {event: name for name, task in tasks.items() for event in task.events}
        for event, name in learned.items():
            if log.event_weights and event not in log.weight_of_type:
                raise ValueError(
                    f"model.tasks.{name}: events of type {event!r} are dropped, for data.interactions.event_weights "
                    "doesn't list them; give them a weight there"
                )
        for event, weight in log.event_weights.items():
            if event not in learned and weight > 0:
                raise ValueError(
                    f"data.interactions.event_weights: no task of model.tasks learns the events of type {event!r}; add "
                    "them to one's events, or remove them here, which drops them"
                )
        return self

    @model_validator(mode="after")
    def _excluded_types_are_there(self) -> Config:
        types, log = self.serving.exclude, self.data.interactions
        if not isinstance(types, tuple):
            return self
        if log.columns.event is None:
            raise ValueError("serving.exclude of types of events needs data.interactions.columns.event")
        for name in types:
            weight = log.weight_of_type.get(name, 0.0)
            if log.event_weights and weight <= 0:
                why = (
                    "events of it are negative, whose items are left out anyway"
                    if weight
                    else "events of it are dropped"
                )
                raise ValueError(f"serving.exclude: {name!r}: {why} (see data.interactions.event_weights)")
        return self

    @model_validator(mode="after")
    def _types_of_feedback_are_there(self) -> Config:
        named, log = (*self.feedback.clicks, *self.feedback.conversions), self.data.interactions
        if named and log.columns.event is None:
            raise ValueError("feedback.clicks and feedback.conversions need data.interactions.columns.event")
        for name in named if log.event_weights else ():
            if name not in log.weight_of_type:
                raise ValueError(
                    f"feedback: events of type {name!r} are dropped, for data.interactions.event_weights doesn't list "
                    "them"
                )
        return self

    @model_validator(mode="after")
    def _features_with_limits_are_there(self) -> Config:
        columns = self.data.interactions.columns
        known = [*self._context(), "weight", *(name for name in ("rating", "event") if getattr(columns, name))]
        known += [f"catalogue.{name}" for name, f in self.data.catalogue.features.items() if f.type != "text"]
        for name in self.guards.drift:
            if name not in known:
                raise ValueError(
                    f"guards.drift: {name!r} is no feature that is compared (there are: {', '.join(known)})"
                )
        return self

    @model_validator(mode="after")
    def _log_can_be_read_on(self) -> Config:
        log = self.data.interactions
        if self.incremental is None:
            return self
        for wrong, words in (
            (self.serving.ship != "all", "serving.ship: all, for it goes on from what was shipped"),
            (log.columns.timestamp is None, "data.interactions.columns.timestamp, by which events follow each other"),
            (log.split.method == "files", "another data.interactions.split.method than files"),
            (self.training.histories == "others", "training.histories before"),
        ):
            if wrong:
                raise ValueError(f"incremental needs {words}")
        return self

    @model_validator(mode="after")
    def _filters_are_there(self) -> Config:
        features = self.data.catalogue.features
        known = [name for name, feature in features.items() if feature.type not in ("text", "vector")]
        for name in self.serving.filters:
            if name not in known:
                raise ValueError(
                    f"serving.filters: {name!r} is no category, categories or number of the catalogue "
                    f"(there are: {', '.join(known) or 'none'})"
                )
        return self


def _work_folder(uri: str) -> Path:
    """The folder of this machine in which what a URI holds is worked on."""
    root = os.environ.get(WORK)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", uri)[:80]
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    folder = Path(root).expanduser() if root else Path.home() / ".cache" / "recommender" / "work"
    return folder.absolute() / f"{name}-{digest}"


def load_config(
    path: str | Path,
    changes: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """Reads a config file, and what is laid over it: files, then the environment, then changes.

    Args:
        path: The YAML file.
        changes: `key.subkey=value` pairs, the values in YAML, that replace what all others say.
        overrides: YAML files with some of the config's keys, each of which replaces what the ones before it say.
        environ: Variables that replace what the files say, see `pipeline.config.environment`; those of other programs
            may be among them.

    Raises:
        InputError: A file is missing or no YAML, a variable names no key, or a key is unknown, missing or of a wrong
            value. The message names the file, each key, and what is allowed.
    """
    try:
        content = _read_yaml(Path(path))
    except FileNotFoundError:
        there = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml"))) or "none in configs/"
        raise InputError(f"{path}: no such config file (there are: {there}); name one with --config") from None
    for file in overrides:
        try:
            content = merged(content, _read_yaml(Path(file)))
        except FileNotFoundError:
            raise InputError(f"{file}: no such file; `recommender tune` writes one for --overrides") from None
    variables = environment.changes(Config, environ)
    for key, value in variables.items():
        _change(content, environment.variable(key), key, value)
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator or not key:
            raise InputError(f"--set {change!r}: expected key=value, such as model.dim=64")
        _change(content, f"--set {change!r}", key, value)
    environment.check(Config, environ, _own_variables(content))
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        over = [*map(str, overrides), *map(environment.variable, variables)]
        source = f"{path} with {', '.join(over)}" if over else str(path)
        lines = "\n".join(f"  {line}" for line in _explain(error))
        raise InputError(f"{source}: the config is wrong:\n{lines}") from None


def find_notify(
    path: str | Path,
    changes: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Finds `nightly.notify` of a config that `load_config` refuses: whom to tell of that. Empty where nobody is found.

    Args:
        path: As for `load_config`, and so are the others. Of a file that is no YAML, the part `nightly` may be some.
        changes: Likewise.
        overrides: Likewise.
        environ: Likewise.
    """
    key, content = "nightly.notify", dict[str, Any]()
    texts = []
    for file in (path, *overrides):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = Path(file).read_text("utf-8")
            texts += [text, *_NIGHTLY.findall(text)]
    for text in texts:
        with contextlib.suppress(yaml.YAMLError):
            if isinstance(found := yaml.safe_load(text), dict):
                content = merged(content, found)
    values = [
        environ.get(environment.variable(key)),
        *(c.removeprefix(f"{key}=") for c in changes if c.startswith(key)),
    ]
    for value in filter(None, values):
        with contextlib.suppress(yaml.YAMLError):
            content["nightly"] = {"notify": yaml.safe_load(value)}
    nightly = content.get("nightly")
    urls = nightly.get("notify") if isinstance(nightly, dict) else None
    return [url for url in urls if isinstance(url, str) and url] if isinstance(urls, list) else []


def merged(content: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Returns `content` with the values of `overrides`; where both have keys and values at a key, so it goes on."""
    result = dict(content)
    for key, value in overrides.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


_NIGHTLY = re.compile(r"^nightly:.*?(?=^[^\s#]|\Z)", re.MULTILINE | re.DOTALL)
"""A part of a file of YAML."""

_KINDS = {type(None): "nothing", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


_NO_TEXT = (bool, int, float, datetime.date)
"""What YAML makes of words such as no, 1 and 2020-09-14."""


def _parsed(text: str) -> Any:
    """What a text in YAML says. YAML's own loader takes the last of equal keys without a word.

    Raises:
        yaml.YAMLError: it is no YAML, or a key stands there twice.
    """
    nodes, seen = [yaml.compose(text, yaml.SafeLoader)], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        there: dict[tuple[str, str], yaml.Node] = {}
        for key, value in node.value:
            nodes.append(value)
            first = there.setdefault((key.tag, str(key.value)), key)
            if first is not key:
                lines = f"{first.start_mark.line + 1} and {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"{key.value!r} stands there twice, in lines {lines}: make one of them")
    return yaml.safe_load(text)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values, found {_KINDS.get(type(content), 'one value')}")
    return content


def _own_variables(content: dict[str, Any]) -> list[Any]:
    """Names that a config, not yet checked, gives to variables: those of the metadata server's password, of the key of
    pseudonyms, and those in the URLs of who is told of a night."""
    named = (("metadata", "password_env"), ("feedback", "key_env"))
    names = [part.get(key) for name, key in named if isinstance(part := content.get(name), dict)]
    nightly = content.get("nightly")
    return names + (VARIABLE.findall(str(nightly.get("notify"))) if isinstance(nightly, dict) else [])


def _change(content: dict[str, Any], source: str, key: str, value: str) -> None:
    """Sets a dotted key to a value in YAML; `source` says in messages where it comes from."""
    *parents, last = key.split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise InputError(f"{source}: {parent!r} has no keys")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        quoted = f"\"'{value}'\": " if value.startswith("%") else ""  # as forms of times do
        hint = f", write {quoted}" if quoted else ": "
        raise InputError(f"{source}: the value is not valid YAML{hint}{' '.join(str(error).split())}") from None


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(top)"
        if problem["type"] == "extra_forbidden":
            known = _keys_beside(problem["loc"])
            close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            lines.append(f"{key}: unknown key; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{key}: missing")
        elif problem["type"] == "string_type" and isinstance(problem["input"], _NO_TEXT):
            kind = _KINDS.get(type(problem["input"]), "a day")
            where = ".".join(map(str, problem["loc"][:-2])) if problem["loc"][-1] == "[key]" else key
            lines.append(f"{where}: needs text, and YAML takes it for {kind} ({problem['input']}): put it in quotes")
        elif problem["type"] in ("list_type", "tuple_type") and isinstance(problem["input"], str):
            lines.append(f"{key}: needs a list: write [{problem['input']!r}]")
        else:
            lines.append(f"{key}: {problem['msg']} (got {problem['input']!r})")
    return lines


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where `location`, an unknown one, stands."""
    kinds: list[Any] = [Config]
    for part in location[:-1]:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return sorted({name for kind in kinds if _is_model(kind) for name in kind.model_fields})


def _inside(kind: Any, part: int | str) -> list[Any]:
    """The types that a value may have which stands at `part` in one of this type."""
    if not _is_model(kind):  # a list or a mapping
        return [each for inner in get_args(kind) for each in _alternatives(inner)]
    field = kind.model_fields.get(part)
    return [] if field is None else _alternatives(field.annotation)


def _alternatives(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, types.UnionType, Annotated):
        return [each for inner in get_args(kind) for each in _alternatives(inner)]
    return [kind]


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
