"""The commands that ask a model server: `query`, `similar`, `audience`.

With --target and --name they need neither a config nor anything that the client doesn't.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import InputError
from pipeline.cli.command import NAME_FORMERLY, CommandError, command
from pipeline.cli.options import (
    ConfigSource,
    ContextOption,
    CountOption,
    LeaveOutOption,
    OwnersOption,
    RuleOptions,
    ServerOptions,
    TasksOption,
    UserRuleOptions,
)
from pipeline.cli.parsing import parse_context, parse_ids, parse_tasks
from pipeline.cli.serving import PANEL
from pipeline.terminal import Outcome, print_table, shown, warn
from serving.client import (
    Explanation,
    InvalidRequest,
    Recommendation,
    RecommendationList,
    RecommenderClient,
    RecommenderError,
    ServerUnavailable,
    ShardedClient,
    UserList,
)

if TYPE_CHECKING:
    from pipeline.config import Config

_DEFAULT_K = 10
_EVERY = "dns:///"


@dataclass(frozen=True)
class _Endpoint:
    """Which model to ask where, and for how many items unless told."""

    targets: Sequence[str]
    name: str
    version: Optional[int]
    label: Optional[str]
    transport: str
    default_k: int
    config: Optional[Config]
    """None where nothing had to be read from it."""
    sharded: bool = False
    """Whether the targets are shards of the model, all of which are asked."""


@command(
    "query",
    "recommender query --user 42 -k 5",
    "recommender query --user 42 --explain",
    'recommender query --history "50,181,1" --context device=ios',
    "recommender query --user 42 --shard one:8500 --shard two:8500",
    panel=PANEL,
    formerly=NAME_FORMERLY,
)
def query(
    source: ConfigSource,
    server: ServerOptions,
    rules: RuleOptions,
    user: Annotated[
        Optional[str],
        typer.Option("--user", metavar="ID", help="Whom to recommend for; nobody in particular if left out."),
    ] = None,
    history: Annotated[
        Optional[list[str]],
        typer.Option(
            "--history",
            metavar="IDS",
            help='What they had to do with, newest first, "id1,id2"; an id with a comma in double quotes. Repeatable.',
        ),
    ] = None,
    context: ContextOption = None,
    task: TasksOption = None,
    leave_out: LeaveOutOption = None,
    k: CountOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which items of the history carry each recommendation.")
    ] = False,
    shards: Annotated[
        Optional[list[str]],
        typer.Option(
            "--shard",
            metavar="HOST:PORT",
            help="Instead of --target: the server of a shard, as `recommender shard` makes them. Once for each.",
        ),
    ] = None,
) -> Outcome:
    """Ask a running model server for recommendations."""
    endpoint = _endpoint(source, server, shards or ())
    seen, excluded, kept = parse_ids(history or (), "--history"), rules.excluded(), rules.rules()
    features, tasks = parse_context(context or ()), parse_tasks(task or ())
    _check_context(features, endpoint)
    with _client(endpoint) as client:
        count = endpoint.default_k if k is None else k
        answer = client.recommend(user, seen, excluded, count, features, **kept, tasks=tasks, leave_out=leave_out)
        facts = {"source": answer.source, **_facts(client, answer.items, answer.version, endpoint)}
        if endpoint.sharded:
            facts["missing"] = list(answer.missing)
        if answer.missing:
            warn(f"without the items of the shards that don't answer: {', '.join(answer.missing)}")
        if explain:
            _add_explanations(
                client, facts["items"], client.explain(user, seen, answer.item_ids, features, tasks=tasks)
            )
    return Outcome(
        facts=facts,
        show=functools.partial(
            _show, facts, explained=_explain(answer, user, seen, bool(rules.allow or rules.filters))
        ),
    )


@command(
    "similar",
    "recommender similar --item 50 -k 5",
    "recommender similar --user 42 -k 5",
    panel=PANEL,
    formerly=NAME_FORMERLY,
)
def similar(
    source: ConfigSource,
    server: ServerOptions,
    rules: RuleOptions,
    item: Annotated[Optional[str], typer.Option("--item", metavar="ID", help="The item.")] = None,
    user: Annotated[
        Optional[str],
        typer.Option("--user", metavar="ID", help="The user, for similar users; of the rules --exclude alone holds."),
    ] = None,
    k: CountOption = None,
) -> Outcome:
    """Ask a running model server for items similar to one, or for users similar to one."""
    if (item is None) == (user is None):
        raise InputError("what is it to be similar to? Give either --item ID or --user ID")
    endpoint = _endpoint(source, server)
    if user is not None:
        return _similar_users(endpoint, rules, user, k)
    assert item is not None
    excluded, kept = rules.excluded(), rules.rules()
    with _client(endpoint) as client:
        answer = client.similar_items(item, excluded, endpoint.default_k if k is None else k, **kept)
        if not answer.known:
            raise InputError(f"item {item!r}: the model {endpoint.name!r} doesn't know it (ids are matched exactly)")
        (asked,) = client.describe([item])
        facts = {
            "item": {"id": item, "title": asked.display},
            **_facts(client, answer.items, answer.version, endpoint),
        }
    explained = f"similar to {item} {asked.display}".rstrip()
    if not answer.items:
        explained = "nothing is left: every other item is excluded or ruled out"
    return Outcome(facts=facts, show=functools.partial(_show, facts, explained=explained))


def _similar_users(endpoint: _Endpoint, rules: RuleOptions, user: str, k: Optional[int]) -> Outcome:
    if rules.allow or rules.filters or rules.boost or rules.diversity is not None:
        raise InputError("--user: similar users take no rules but --exclude, ids of users")
    with _client(endpoint) as client:
        answer = client.similar_users(user, rules.excluded(), endpoint.default_k if k is None else k)
        if not answer.known:
            raise InputError(f"user {user!r}: the model {endpoint.name!r} doesn't know them (ids are matched exactly)")
        facts = {"user": user, **_user_facts(client, answer, endpoint)}
    explained = f"similar to user {user}" if answer.users else "nobody is left: every other user is excluded"
    return Outcome(facts=facts, show=functools.partial(_show, facts, explained=explained))


@command("audience", "recommender audience --item 50 -k 5", panel=PANEL)
def audience(
    source: ConfigSource,
    server: ServerOptions,
    rules: UserRuleOptions,
    item: Annotated[str, typer.Option("--item", metavar="ID", help="The item.")],
    owners: OwnersOption = False,
    k: CountOption = None,
) -> Outcome:
    """Ask a running model server for the users whom an item is most for."""
    endpoint = _endpoint(source, server)
    excluded, kept = rules.excluded(), rules.rules()
    with _client(endpoint) as client:
        answer = client.audience(
            item, excluded, endpoint.default_k if k is None else k, exclude_owners=not owners, **kept
        )
        if not answer.known:
            raise InputError(f"item {item!r}: the model {endpoint.name!r} doesn't know it (ids are matched exactly)")
        (asked,) = client.describe([item])
        facts = {"item": {"id": item, "title": asked.display}, **_user_facts(client, answer, endpoint)}
    explained = f"audience of {item} {asked.display}".rstrip() + "; a score is the log of how likely it is to come next"
    if not answer.users:
        explained = "nobody is left: every user had it, is excluded or ruled out"
    return Outcome(facts=facts, show=functools.partial(_show, facts, explained=explained))


def _endpoint(source: ConfigSource, server: ServerOptions, shards: Sequence[str] = ()) -> _Endpoint:
    if shards:
        if server.targets:
            raise InputError("--shard and --target exclude each other")
        endpoint = _endpoint(source, dataclasses.replace(server, targets=list(shards)))
        return dataclasses.replace(endpoint, sharded=True)
    version, label, transport = server.version, server.label, server.transport
    if transport not in ("grpc", "rest"):
        raise InputError(f"--transport {transport}: it is grpc or rest")
    if version is not None and label is not None:
        raise InputError("--version and --label exclude each other")
    # The client asks all addresses that a name stands for, written either way.
    targets = [target[len(_EVERY) :] if target.startswith(_EVERY) else target for target in server.targets or ()]
    if targets and source.name and not source.is_given:
        return _Endpoint(targets, source.name, version, label, transport, _DEFAULT_K, None)
    config = source.load()
    serving = config.serving
    port = serving.port if transport == "grpc" else serving.rest_port
    if not targets and not port:
        key = "port" if transport == "grpc" else "rest_port"
        raise InputError(f"serving.{key} is 0, any free one: name the server by --target")
    targets = targets or [serving.target(port)]
    return _Endpoint(targets, config.name, version, label, transport, serving.default_k, config)


def _check_context(context: Mapping[str, Any], endpoint: _Endpoint) -> None:
    """Refuses features that the model doesn't take; a server would ignore them, as a client's newer than the model."""
    if not context:
        return
    if endpoint.config is None:
        warn("--context: whether the model takes these features can't be told without its config (--config FILE)")
        return
    known = _context_features(endpoint.config, endpoint.version, endpoint.label)
    for name in context:
        if name not in known:
            raise InputError(
                f"--context {name}: the model takes no such feature (it takes: {', '.join(known) or 'none'})"
            )


def _context_features(config: Config, version: Optional[int], label: Optional[str]) -> list[str]:
    """The features that a model takes: as its version on this machine says, else as the config does."""
    from components.versions import describe, list_versions, model_dir
    from pipeline.cli.judging import labelled

    there = {found.number: found.path for found in list_versions(model_dir(config.serving.base_path, config.name))}
    number = labelled(config, label) if label and there else version or max(there, default=0)
    if number in there and "context" in (about := describe(there[number])):
        return sorted(feature["name"] for feature in about["context"])
    return sorted([*config.query_features(), *(["timestamp"] if config.model.time_features else [])])


@contextmanager
def _client(endpoint: _Endpoint) -> Iterator[RecommenderClient]:
    """A client whose errors end the command with one line and the right exit code."""
    try:
        with (ShardedClient if endpoint.sharded else RecommenderClient)(
            endpoint.targets,
            model=endpoint.name,
            version=endpoint.version,
            label=endpoint.label,
            transport=endpoint.transport,
        ) as client:
            yield client
    except InvalidRequest as error:
        raise InputError(error.line) from None
    except ServerUnavailable:
        raise CommandError(
            f"no model server at {', '.join(endpoint.targets)}: start one with `recommender serve`, or wait until it"
            " says `ready`"
        ) from None
    except RecommenderError as error:
        raise CommandError(error.line) from None


def _facts(
    client: RecommenderClient, items: Sequence[Recommendation], version: Optional[int], endpoint: _Endpoint
) -> dict[str, Any]:
    """An answer as facts; `version` is the one that answered, or, over REST, which doesn't tell, that would now."""
    described = client.describe([item.item_id for item in items])
    return {
        "name": endpoint.name,
        "version": client.metadata().version if version is None else version,
        "items": [
            {"rank": rank, "id": item.item_id, "title": description.display, "score": item.score}
            for rank, (item, description) in enumerate(zip(items, described), 1)
        ],
    }


def _user_facts(client: RecommenderClient, answer: UserList, endpoint: _Endpoint) -> dict[str, Any]:
    """A list of users as `_facts` has one of items."""
    return {
        "name": endpoint.name,
        "version": client.metadata().version if answer.version is None else answer.version,
        "users": [{"rank": rank, "id": user.user_id, "score": user.score} for rank, user in enumerate(answer, 1)],
    }


def _add_explanations(client: RecommenderClient, items: Sequence[dict[str, Any]], found: Sequence[Explanation]) -> None:
    """Says of each item of an answer what carries it."""
    ids = list(dict.fromkeys(carrier.item_id for each in found for carrier in each.top()))
    titles = {described.item_id: described.display for described in client.describe(ids)}
    for item, explained in zip(items, found):
        item["because"] = [
            {"id": carrier.item_id, "title": titles[carrier.item_id], "adds": carrier.value}
            for carrier in explained.top()
        ]
        item["parts"], item["method"] = dict(explained.parts), explained.method


def _because(item: Mapping[str, Any]) -> str:
    """What carries an item, in words: of the history, or, if nothing does, the part that adds most."""
    carriers = [(shown(each["title"] or each["id"]), each["adds"]) for each in item["because"]]
    if not carriers:
        name = max(item["parts"], key=item["parts"].__getitem__)
        carriers = [(shown(name.replace("_", " ")), item["parts"][name])]
    return ", ".join(f"{name} {value:+.3f}" for name, value in carriers)


def _show(facts: Mapping[str, Any], console: Console, explained: str) -> None:
    rows = facts["users"] if "users" in facts else facts["items"]
    if rows:
        table = Table(title=f"{escape(facts['name'])} version {facts['version']}", title_justify="left")
        table.add_column("rank", justify="right")
        texts = [name for name in ("id", "title") if name in rows[0]]
        for name in texts:
            table.add_column(name, overflow="fold")
        table.add_column("score", justify="right")
        method = rows[0].get("method") if rows else None
        if method:
            table.add_column(f"because of ({method})", overflow="fold")
        for row in rows:
            cells = [str(row["rank"]), *(shown(row[name]) for name in texts), f"{row['score']:.4f}"]
            table.add_row(*cells, *([_because(row)] if method else []))
        print_table(console, table)
    console.print(shown(explained), soft_wrap=True)


def _explain(answer: RecommendationList, user: Optional[str], history: Sequence[str], ruled: bool) -> str:
    """Says what the list was made from."""
    if not answer.items:
        rest = " or ruled out" if ruled else ""
        return f"nothing is left to recommend: every item was seen or is excluded{rest}"
    unknown = f"user {user} is unknown to the model; " if user else ""
    if answer.source == "user":
        return f"source: user ({user} is known{', served from the history given' if history else ''})"
    if answer.source == "history":
        return f"source: history ({unknown}served from the history given)"
    if history:
        unknown += "none of the history's items is known; "
    return f"source: {answer.source} ({unknown}these are the popular items)"
