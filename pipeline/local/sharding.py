"""`recommender shard`: a pushed version's items split over servables of their own, without training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from components import versions
from components.errors import InputError
from components.progress import progress
from components.versions import check_writable
from pipeline.code import PROPERTY
from pipeline.config import Config
from pipeline.failures import DONE
from pipeline.local.evaluate import find_model
from pipeline.local.output import working
from pipeline.local.run import at_terminal
from pipeline.terminal import MARKS, Outcome, Terminal, listening
from serving import contract

_UNFINISHED = ".shards"
_ALL_ITEMS = {
    contract.SECOND_STAGE: "the second stage (model.ranking) ranks the best of all items",
    contract.DIVERSITY: "serving.diversity, which a request may not set either, chooses among the best of all items",
    contract.APPROXIMATE: "serving.index.type scann looks at a part of the items only",
}
"""What no shard can do so that all together answer as the whole servable does."""


def shard(config: Config, out: Path, shards: int, number: int | None = None) -> Outcome:
    """Splits a version's items, in their order, into as many shards, and publishes each in a base path of its own.

    They have the version's number, users, stored histories and settings, but no signatures of users
    (`serving.audience`).

    Args:
        config: Says where the version and what it was made of lie.
        out: The base paths are `<out>/1-of-<shards>` and so on.
        shards: At least 2.
        number: The version; by default the newest.

    Returns:
        The facts: `name`, `version`, and as `shards` for each `base_path`, `items`, `fingerprint` and `new`, whether it
        was not there before.

    Raises:
        InputError: There is no such version, its items can't be split, or what it was made of is gone or was changed.
    """
    path = find_model(config, None if number is None else str(number))
    about = versions.describe(path)
    beyond = [why for part, why in _ALL_ITEMS.items() if part in about.get(contract.BEYOND_VECTORS, ())]
    if beyond:
        raise InputError(f"{path} can't be split exactly: {'; '.join(beyond)}; make a version without")
    if shards > about.get("num_items", 0):
        raise InputError(f"--shards {shards}: the version has {about.get('num_items', 0)} items")
    check_writable(out)
    return at_terminal(config, lambda root, terminal: _shard(config, root, out.absolute(), shards, path, terminal))


def _shard(config: Config, root: Path, out: Path, of: int, path: Path, terminal: Terminal) -> Outcome:
    terminal.start("shard", silence=0)
    whole = versions.fingerprint(path)
    places = [out / f"{place}-of-{of}" for place in range(1, of + 1)]
    shards = [contract.Shard(place, of, whole) for place in range(1, of + 1)]
    scratch = out / _UNFINISHED
    with listening(terminal), working(config, root):
        new = [not _is_there(place / config.name / path.name, each) for place, each in zip(places, shards)]
        if any(new):
            shutil.rmtree(scratch, ignore_errors=True)  # what a killed one left
            try:
                missing = [each for each, is_new in zip(shards, new) if is_new]
                _write(config, path, scratch, missing)
                for each in missing:
                    _publish(scratch / str(each.number), places[each.number - 1] / config.name, path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    made = [versions.describe(place / config.name / path.name) for place in places]
    rows = [
        {"base_path": str(place), "items": about["num_items"], "fingerprint": about["fingerprint"], "new": is_new}
        for place, about, is_new in zip(places, made, new)
    ]
    terminal.pause()
    _show(rows, path, terminal.console)
    return Outcome(DONE, {"name": config.name, "version": int(path.name), "shards": rows})


def _is_there(path: Path, shard: contract.Shard) -> bool:
    if not path.exists():
        return False
    found = versions.describe(path).get(contract.SHARD, "")
    if found != str(shard):
        raise InputError(f"{path}: is there already, and is {found or 'no shard'}, not {shard}; name another --out")
    return True


def _write(config: Config, path: Path, folder: Path, shards: Sequence[contract.Shard]) -> None:
    """Writes the servables to folders that are named by their numbers.

    Raises:
        InputError: What the version was made of is gone or was changed.
    """
    from components.indexer.executor import read_parts
    from components.indexer.fingerprint import fingerprint
    from components.indexer.saving import save_servable
    from pipeline.local.lineage import NotMadeAgain, arguments_of, made_of, read_lineage
    from pipeline.metadata import connection_config, open_store

    store = open_store(connection_config(config))
    lineage = read_lineage(store, config.name)
    try:
        _, _, indexer, inputs = made_of(store, lineage, int(path.name))
    except NotMadeAgain as why:
        raise InputError(f"version {path.name} can't be split: {why}; make another one by `recommender run`") from None
    given, properties = arguments_of(store, lineage, indexer, inputs)
    parts, code = read_parts(given, properties), properties.get(PROPERTY) or ""
    towers_dir, towers = parts.towers_dir, parts.towers
    if fingerprint(towers_dir, parts.index, parts.settings, code, towers) != shards[0].whole:
        raise InputError(
            f"version {path.name} can't be split: what it was made of was changed since, as by `recommender forget`;"
            " make another one by `recommender reindex`"
        )
    settings = parts.settings.model_copy(update={"audience": False})
    for shard in shards:
        progress(f"shard {shard.number} of {shard.of}")
        own = parts.index.shard(shard.number, shard.of)
        save_servable(towers_dir, own, settings, config.name, str(folder / str(shard.number)), (), code, towers, shard)


def _publish(source: Path, directory: Path, whole: Path) -> None:
    """Publishes a shard by the number of the whole version, with what that says of itself."""
    about = {**versions.release(whole), "fingerprint": versions.fingerprint(source)}
    profile = whole / versions.DATA_PROFILE
    beside = {versions.DATA_PROFILE: profile.read_text("utf-8")} if profile.is_file() else {}
    versions.publish(source, directory, about, beside, number=int(whole.name))


def _show(rows: Sequence[dict[str, Any]], path: Path, console: Console) -> None:
    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    for row in rows:
        state = f"{row['items']:,} items" if row["new"] else "was there already"
        say(f"{MARKS['done']} {escape(row['base_path'])}: {state}, fingerprint {row['fingerprint'][:12]}")
    first = escape(rows[0]["base_path"])
    say(f"version {path.name} is split; serve each by a server of its own: recommender serve --base-path {first}")
