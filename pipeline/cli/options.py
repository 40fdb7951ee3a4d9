"""The options: each is written once, so that it means the same at every command that has it.

Those that go together are the fields of a dataclass: a command that takes one has them all.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipeline import variables
from pipeline.cli.parsing import parse_boosts, parse_filters, parse_ids

if TYPE_CHECKING:
    from pipeline.config import Config

DEFAULT_CONFIG = Path("configs/movielens_100k.yaml")

# --- What the config is, which every command goes by ------------------------------------------------------------------

_CONFIG_PANEL = "Config"

ConfigOption = Annotated[
    Optional[Path],
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar=variables.CONFIG,
        help=f"The config file; by default {DEFAULT_CONFIG}.",
        rich_help_panel=_CONFIG_PANEL,
    ),
]
OverridesOption = Annotated[
    Optional[list[Path]],
    typer.Option(
        "--overrides",
        metavar="FILE",
        envvar=variables.OVERRIDES,
        help="A YAML file whose keys override the config's, as tune writes one. Repeatable; a later one counts more.",
        rich_help_panel=_CONFIG_PANEL,
    ),
]
SetOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the config, the value in YAML, such as model.dim=32. Repeatable.",
        rich_help_panel=_CONFIG_PANEL,
    ),
]
NameOption = Annotated[
    Optional[str],
    typer.Option(
        "--name", metavar="NAME", help="The model's name, instead of the config's.", rich_help_panel=_CONFIG_PANEL
    ),
]


@dataclass(frozen=True)
class ConfigSource:
    """Which config a command goes by; it is read when it is needed."""

    file: ConfigOption = None
    overrides: OverridesOption = None
    changes: SetOption = None
    name: NameOption = None

    @property
    def is_given(self) -> bool:
        """Whether the command line says anything of it but the name."""
        return bool(self.file or self.overrides or self.changes)

    def notify(self) -> list[str]:
        """Whom to tell that it can't be read."""
        from pipeline.config.config import find_notify

        return find_notify(self.file or DEFAULT_CONFIG, self.changes or (), self.overrides or (), os.environ)

    def load(self) -> Config:
        """Reads the config.

        Raises:
            InputError: It is wrong.
        """
        from pipeline.config import load_config

        changes = list(self.changes or ())
        if self.name is not None:
            changes.append(f"name={json.dumps(self.name)}")
        return load_config(self.file or DEFAULT_CONFIG, changes, self.overrides or (), os.environ)


# --- Output -----------------------------------------------------------------------------------------------------------

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; all else goes to the standard error.")
]

# --- Which model ------------------------------------------------------------------------------------------------------

VersionOption = Annotated[
    Optional[str],
    typer.Option(
        "--version",
        metavar="VERSION|DIR",
        help="The number of a pushed version, or the folder of a SavedModel; by default the newest version.",
    ),
]
NumberOption = Annotated[
    Optional[int],
    typer.Option("--version", metavar="VERSION", min=1, help="The version with this number; by default the newest."),
]
VersionArgument = Annotated[int, typer.Argument(metavar="VERSION", help="As `recommender versions` lists them.")]
LabelOption = Annotated[
    Optional[str],
    typer.Option("--label", metavar="LABEL", help="The version with this label, such as stable."),
]
BasePathOption = Annotated[
    Optional[str],
    typer.Option(
        "--base-path",
        metavar="DIR",
        help="Versions lie in DIR/NAME/VERSION, on disk or in s3:// or gs://; by default as serving.base_path says.",
    ),
]

# --- What is asked ----------------------------------------------------------------------------------------------------

CountOption = Annotated[
    Optional[int], typer.Option("-k", "--k", metavar="K", help="How many items; by default as serving.default_k says.")
]
ExcludeOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--exclude",
        metavar="IDS",
        help='Items not to return, "id1,id2"; an id with a comma in double quotes. Repeatable.',
    ),
]
ContextOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--context",
        metavar="NAME=VALUE",
        help="A feature of the request, the value in YAML, such as device=ios, age=30 or timestamp=2026-01-31T20:15:00;"
        " a text that looks like a number in quotes: zip='\"90210\"'. Repeatable.",
    ),
]
AllowOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--allow", metavar="IDS", help="The only items that may be returned, written as for --exclude. Repeatable."
    ),
]
FilterOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="What all items must fulfil: brand=x (of several with the same name one must do), 'price<=20', 'price>=5'."
        " Repeatable.",
    ),
]
BoostOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--boost",
        metavar="CONDITION:NUMBER",
        help="Add to the scores of items that fulfil a condition: brand=x:0.5. Repeatable.",
    ),
]
DiversityOption = Annotated[
    Optional[float],
    typer.Option(
        "--diversity",
        help="How much the items are to differ, from 0 (by score alone) to 1; by default as the model has it.",
    ),
]


TasksOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--task",
        metavar="NAME=WEIGHT",
        help="What a task of the model counts in a score, purchase=1; those that are not named count for nothing, and"
        " without this option all do as the model has it. Repeatable.",
    ),
]


LeaveOutOption = Annotated[
    Optional[str],
    typer.Option(
        "--leave-out",
        metavar="all|nothing",
        help="Which of the user's items are not returned, beside those that were rejected; by default as the model has"
        " it (serving.exclude).",
    ),
]


@dataclass(frozen=True)
class _Selection:
    """Which of items or users may be answered, as they are written."""

    exclude: Optional[list[str]] = None
    allow: Optional[list[str]] = None
    filters: Optional[list[str]] = None

    def excluded(self) -> list[str]:
        """The ids of `--exclude`.

        Raises:
            InputError: They are written wrongly.
        """
        return parse_ids(self.exclude or (), "--exclude")

    def rules(self) -> dict[str, Any]:
        """The others, as arguments of the client.

        Raises:
            InputError: One is written wrongly.
        """
        return {
            "allow": parse_ids(self.allow, "--allow") if self.allow else None,
            "filters": parse_filters(self.filters or ()),
        }


@dataclass(frozen=True)
class RuleOptions(_Selection):
    """Which items may be answered, and in which order."""

    exclude: ExcludeOption = None
    allow: AllowOption = None
    filters: FilterOption = None
    boost: BoostOption = None
    diversity: DiversityOption = None

    def rules(self) -> dict[str, Any]:
        """The others, as arguments of the client.

        Raises:
            InputError: One is written wrongly.
        """
        return {**super().rules(), "boosts": parse_boosts(self.boost or ()), "diversity": self.diversity}


OwnersOption = Annotated[
    bool, typer.Option("--owners", help="With the users who had the item; without them unless this is given.")
]


@dataclass(frozen=True)
class UserRuleOptions(_Selection):
    """Which users may be answered."""

    exclude: Annotated[
        Optional[list[str]],
        typer.Option("--exclude", metavar="IDS", help="Users not to return, written as items are. Repeatable."),
    ] = None
    allow: Annotated[
        Optional[list[str]],
        typer.Option("--allow", metavar="IDS", help="The only users that may be returned. Repeatable."),
    ] = None
    filters: Annotated[
        Optional[list[str]],
        typer.Option(
            "--filter",
            metavar="CONDITION",
            help="What all users must fulfil, by their features that the model takes: country=de, 'age>=18'."
            " Repeatable.",
        ),
    ] = None


# --- Who answers ------------------------------------------------------------------------------------------------------

TargetOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--target",
        metavar="HOST:PORT",
        help="A model server, or dns:///HOST:PORT for all that a name stands for; by default as the config says."
        " Repeatable.",
    ),
]
TransportOption = Annotated[str, typer.Option("--transport", metavar="grpc|rest", help="How to ask.")]


@dataclass(frozen=True)
class ServerOptions:
    """Who is asked, and which version of the model."""

    version: NumberOption = None
    label: LabelOption = None
    targets: TargetOption = None
    transport: TransportOption = "grpc"


# --- Promotion --------------------------------------------------------------------------------------------------------

WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the audit trail.")]
WhoOption = Annotated[
    Optional[str], typer.Option("--as", metavar="WHO", help="Who does it, for the audit trail; else user@host.")
]
LockTimeoutOption = Annotated[
    float, typer.Option("--lock-timeout", metavar="SECONDS", min=0, help="How long to wait for another promotion.")
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="In which each replica must have loaded a version."),
]
SkipDownOption = Annotated[
    bool,
    typer.Option("--skip-down", help="Leave out replicas that don't answer. They must start again from models.config."),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="No server runs: only write models.config, for those that start later.")
]
ShareOption = Annotated[
    float, typer.Option("--share", metavar="SHARE", min=0, max=1, help="Share of the users, 0 to 1.")
]


@dataclass(frozen=True)
class AuditOptions:
    """What the audit trail says of an action, and how long it may wait for another one."""

    why: WhyOption = ""
    who: WhoOption = None
    lock_timeout: LockTimeoutOption = 0.0


@dataclass(frozen=True)
class ReplicaOptions:
    """How the replicas are changed."""

    timeout: TimeoutOption = 300.0
    skip_down: SkipDownOption = False


# --- What was served --------------------------------------------------------------------------------------------------

LogOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--log",
        metavar="FILES",
        help="Logs of answers, by which it is seen what users did: files, globs in quotes, or folders. Repeatable.",
    ),
]
EventsOption = Annotated[
    Optional[str],
    typer.Option("--events", metavar="FILES", help="The later events; by default as data.interactions says."),
]


# --- Kubeflow Pipelines -----------------------------------------------------------------------------------------------

HostOption = Annotated[
    Optional[str],
    typer.Option(
        "--host",
        metavar="URL",
        help="The API of Kubeflow Pipelines, such as http://localhost:8080; by default as kubeflow.host says.",
    ),
]
ParamOption = Annotated[
    Optional[list[str]],
    typer.Option("--param", metavar="NAME=VALUE", help="A run-time parameter, such as epochs=5. Repeatable."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Wait for the end of the run: exit code 1 unless it succeeds.")
]
