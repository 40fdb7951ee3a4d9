"""What `recommender demo` does: the whole way from a log to answers over gRPC and REST, and then it stops."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.versions import Version, model_dir, newest
from pipeline.config import Config
from pipeline.failures import DONE
from pipeline.local.run import run
from pipeline.terminal import Outcome, print_table, shown
from serving import contract
from serving.client import RecommenderClient
from serving.client.results import RecommendationList
from serving.server.process import ServerProcess

_K = 5


def demo(config: Config, user: str | None) -> Outcome:
    """Runs the pipeline, serves what it pushed, and asks.

    Args:
        config: What to run.
        user: Whom to ask for; by default the first of the users with a stored history.

    Returns:
        The run's exit code and facts, with `answers`: for whom, over what, from which source, and the items. Nothing is
        served unless the exit code is 0.
    """
    outcome = run(config)
    version = newest(model_dir(config.serving.base_path, config.name))
    if outcome.exit_code or version is None:
        return outcome
    console = Console()
    log = config.folder() / "logs" / "server.log"
    with console.status("starting the model server …"):
        server = ServerProcess(config.serving.base_path, config.name, log_path=log)
        server.start()
    try:
        user = user or _first_user(version)
        with (
            RecommenderClient(server.grpc_target, model=config.name) as grpc,
            RecommenderClient(server.rest_target, model=config.name, transport="rest") as rest,
        ):
            console.print(
                f"[bold]{escape(config.name)}[/] version {version.number} serves gRPC on {server.grpc_target} and REST "
                f"on {server.rest_target}",
                soft_wrap=True,
                highlight=False,
            )
            by_user = grpc.recommend(user_id=user, k=_K)
            answers = [_shown(console, grpc, f"user {user} (over gRPC)", by_user)]
            again = rest.recommend(user_id=user, k=_K)
            same = "the same" if again.item_ids == by_user.item_ids else "[red]another[/]"
            console.print(f"over REST: {same} list")
            liked = by_user.item_ids[0]
            new = rest.recommend(history=[liked], k=_K)
            answers.append(_shown(console, rest, f"somebody new who just had item {liked} (over REST)", new))
            answers.append(_shown(console, grpc, "somebody of whom nothing is known", grpc.recommend(k=_K)))
    finally:
        server.stop()
    console.print(
        "the server is stopped. To go on: [bold]recommender serve[/], and then "
        f"[bold]recommender query --user {escape(shlex.quote(user))}[/]",
        soft_wrap=True,
        highlight=False,
    )
    return Outcome(DONE, {**outcome.facts, "answers": answers})


def _first_user(version: Version) -> str:
    """A user that the version has a stored history of."""
    with (version.path / contract.USERS).open(encoding="utf-8") as file:
        return file.readline().rstrip("\n")


def _shown(console: Console, client: RecommenderClient, whom: str, answer: RecommendationList) -> dict[str, Any]:
    """Prints an answer; returns it as facts."""
    console.print(f"[bold]for {escape(whom)}, from: {answer.source}[/]", soft_wrap=True, highlight=False)
    table = Table()
    for name in ("item", "title", "score"):
        table.add_column(name, justify="right" if name == "score" else "left")
    descriptions = client.describe(answer.item_ids)
    for item, description in zip(answer, descriptions):
        table.add_row(shown(item.item_id), shown(description.display), f"{item.score:.3f}")
    print_table(console, table)
    items = [
        {"id": item.item_id, "title": description.display, "score": item.score}
        for item, description in zip(answer, descriptions)
    ]
    return {"for": whom, "source": answer.source, "items": items}
