"""What `recommender forget` does, in an order in which a kill at any time leaves nothing worse than to run it again.

First the users are put on the list of those whose events are read no more; then files go or are written anew, and what
serves is made again without them, before what served is deleted; at last everything is searched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from rich.markup import escape

from components import suppression, versions
from components.errors import InputError
from components.progress import progress
from components.tables.reading import find_files
from components.versions import model_dir
from pipeline.config import Config
from pipeline.data.paths import data_paths
from pipeline.failures import DONE, FAILED
from pipeline.local.clean_up import explained, remove
from pipeline.local.evaluate import COPIES
from pipeline.local.forget import purge, search
from pipeline.local.forget.search import Ids
from pipeline.local.lineage import Lineage, NotMadeAgain, read_lineage
from pipeline.local.output import working
from pipeline.local.reproduce import scratch_of
from pipeline.local.run import at_terminal
from pipeline.terminal import MARKS, Outcome, Terminal, listening
from serving.promotion import Promoter, files
from serving.stores import AnyPath, on_disk

_Artifact = metadata_store_pb2.Artifact
_MAPS = ("properties", "custom_properties")


def forget(
    config: Config,
    users: Sequence[str],
    promoter: Callable[[str | None], Promoter],
    also: Sequence[Path] = (),
    pseudonym: Callable[[str], str] | None = None,
) -> Outcome:
    """Takes users out of what serves, of what runs have left, of logs of answers, and of what later runs read.

    Args:
        config: Says where everything lies.
        users: Their ids.
        promoter: Makes what moves labels to versions that are made again, for the one who is to be named in the audit
            trail, or None for whoever calls; called where there are labels.
        also: Other files and folders to take them out of, such as logs of answers and what was made of them.
        pseudonym: What logs of answers call a user; None for by their ids.

    Returns:
        The exit code, 1 where an id is left somewhere, and the facts: `users` (how many), `replaced` (new versions by
        old), `deleted` (versions), `purged` and `removed` (files), `left` (files that still hold an id, or can't be
        searched), `kept` (versions that can't be made again, with the reason), `sources` (files of the data that hold
        an id).

    Raises:
        InputError: No user is named, or the metadata can't be reached.
    """
    if not users or "" in users:
        raise InputError("name a user: the empty id is nobody's")
    for place in also:
        if not place.exists():
            raise InputError(f"--also {place}: no such file or folder")
    ids = Ids([*users, *(map(pseudonym, users) if pseudonym else ())])
    return at_terminal(config, lambda root, terminal: _forget(config, root, users, ids, promoter, also, terminal))


def _forget(
    config: Config,
    root: Path,
    users: Sequence[str],
    ids: Ids,
    promoter: Callable[[str | None], Promoter],
    also: Sequence[Path],
    terminal: Terminal,
) -> Outcome:
    terminal.start("forget", silence=0)
    from pipeline.metadata import connection_config, open_store  # TFX: seconds

    with listening(terminal), working(config, root), explained():
        store = open_store(connection_config(config))
        suppression.add(str(config.suppression()), users)
        work = _Work(config, root, ids, store, read_lineage(store, config.name), promoter)
        shutil.rmtree(root / COPIES, ignore_errors=True)
        work.clean_artifacts()
        work.clean_metadata()
        work.clean_versions()
        work.clean_audit()
        work.clean_files([root, scratch_of(config)], may_remove=True)
        work.clean_files([place.absolute() for place in also], may_remove=False)
        del store, work.store
        if config.metadata.backend == "sqlite":
            _vacuum(root / "metadata.sqlite")
        progress("searching everything")
        places = [root, scratch_of(config), work.directory.parent, *also]
        left = _found(ids, places)
        sources = _sources(config, ids)
    facts = {
        "name": config.name,
        "users": len(users),
        "replaced": work.replaced,
        "deleted": work.deleted,
        "purged": work.purged,
        "removed": work.removed,
        "kept": work.kept,
        "left": left,
        "sources": sources,
    }
    terminal.pause()
    _show(facts, terminal)
    return Outcome(FAILED if left or work.kept else DONE, facts)


class _Work:
    """What is done, and what came of it."""

    def __init__(
        self,
        config: Config,
        root: Path,
        ids: Ids,
        store: Any,
        lineage: Lineage,
        promoter: Callable[[str | None], Promoter],
    ) -> None:
        self.root, self.ids, self.store, self.lineage = root, ids, store, lineage
        self.directory = model_dir(config.serving.base_path.absolute(), config.name)
        self.promoter_of = promoter
        self.promoter = promoter(None) if self._served().labels else None
        self.replaced: dict[int, int] = {}
        self.deleted: list[int] = []
        self.purged: list[AnyPath] = []
        self.removed: list[Path] = []
        self.kept: dict[int, str] = {}

    def clean_artifacts(self) -> None:
        """Writes events and vocabularies anew; what else holds a user goes, and the next run makes it again."""
        for artifact in self.lineage.artifacts.values():
            path = Path(artifact.uri)
            if artifact.state == _Artifact.DELETED or not artifact.uri or not path.is_dir():
                continue
            found = search.search(self.ids, [path])
            if not found:
                continue
            progress(f"{len(found)} files of {path}")
            if self._is_servable(path) or not all(self._clean(file) for file in found):
                self._drop(artifact)

    @staticmethod
    def _is_servable(path: Path) -> bool:
        return any(path.glob("**/assets/users.txt"))

    def _clean(self, path: Path) -> bool:
        """Whether a file of an artifact is without users now."""
        if path.parent.name == "assets" and search.tells_of_users(path.name):
            purge.rename_lines(self.ids, path)
        elif not purge.purge(self.ids, path):
            return False
        self.purged.append(path)
        return not search.holds(self.ids, path)

    def _drop(self, artifact: Any) -> None:
        for state in (_Artifact.MARKED_FOR_DELETION, _Artifact.DELETED):
            artifact.state = state
            self.store.put_artifacts([artifact])
            remove(artifact.uri)
        self.removed.append(Path(artifact.uri))

    def clean_metadata(self) -> None:
        """Takes users out of what nodes have said, such as a summary that quotes one."""
        for found, put in (
            (self.lineage.artifacts, self.store.put_artifacts),
            (self.lineage.executions, self.store.put_executions),
        ):
            changed = [each for each in found.values() if self._clean_properties(each)]
            if changed:
                put(changed)

    def _clean_properties(self, each: Any) -> bool:
        changed = False
        for properties in (getattr(each, name) for name in _MAPS):
            for value in properties.values():
                text = value.string_value
                if text and self.ids.may_be_in(text.encode()) and search.value_holds(self.ids, text):
                    value.string_value = _without(self.ids, text)
                    changed = True
        return changed

    def _served(self) -> files.Aspired:
        return files.aspired(files.read_config(self.directory.parent), self.directory.name) or files.Aspired()

    def clean_versions(self) -> None:
        """Makes versions again that are needed, moves labels, and deletes those that hold a user."""
        from pipeline.local.forget.versions import MADE_FROM, reindexed  # TFX: seconds

        there = versions.list_versions(self.directory)
        holding = [version for version in there if _found(self.ids, [version.path])]
        if not holding:
            files.note_forgetting(self.directory.parent, self.directory.name, None, None)
            return
        needed = files.needed(self.directory.parent, self.directory.name)
        if self.promoter is not None:  # what nothing names serves nobody, and may have been refused
            needed = {version: why for version, why in needed.items() if why != files.NEWEST}
        made_from = {
            int(number): version.number
            for version in there
            if version not in holding
            and version.number in self.lineage.pushers  # else a kill came before the metadata had it
            and (number := versions.release(version.path).get("lineage", {}).get(MADE_FROM))
        }
        for version in holding:
            if version.number not in needed:
                continue
            progress(f"indexing version {version.number} again")
            try:
                made = made_from.get(version.number) or reindexed(self.store, self.lineage, version, self._without)
            except (NotMadeAgain, InputError) as error:
                self.kept[version.number] = str(error)
                continue
            self.replaced[version.number] = made
        self._move_labels()
        for old, new in self.replaced.items():
            files.note_forgetting(self.directory.parent, self.directory.name, old, new)
        self._delete([version.number for version in holding if version.number not in self.kept])

    def _without(self, document: Any) -> Any:
        return purge.without(self.ids, document)

    def _move_labels(self) -> None:
        for label in sorted(self._served().labels, reverse=True):  # stable first, with which canary may move
            now = self._served().labels[label]
            if now in self.replaced:
                # Who began a trial is who decides on it.
                moved = [
                    entry.who
                    for entry in files.read_audit(self.directory.parent, self.directory.name, genuine=True)
                    if (entry.label, entry.to_version, entry.result) == (label, now, files.DONE)
                ]
                self.promoter_of(moved[-1] if moved else None).promote(self.replaced[now], label)

    def _delete(self, numbers: Collection[int]) -> None:
        base_path, model = self.directory.parent, self.directory.name
        if self.promoter is None:
            self.deleted += files.remove_versions(base_path, model, numbers, "users are forgotten")
            return
        for number in numbers:
            self.promoter.retire(number)
            self.deleted.append(number)

    def clean_audit(self) -> None:
        """Takes users out of the reasons that people gave for a promotion."""
        base_path = self.directory.parent
        trail = base_path / files.AUDIT_FILE

        def cleaned(entry: dict[str, Any]) -> dict[str, Any]:
            return {**entry, **{key: self._without(entry[key]) for key in ("why", "result") if key in entry}}

        lines = map(dataclasses.asdict, files.read_audit(base_path))
        if any(cleaned(line) != line for line in lines) and files.redact_audit(base_path, cleaned):
            self.purged.append(trail)

    def clean_files(self, places: Iterable[Path], may_remove: bool) -> None:
        """Writes files anew; those that can't be go, if they are this project's own."""
        for path in search.search(self.ids, places):
            if path.suffix in (".sqlite", ".lock"):
                continue
            if purge.purge(self.ids, path):
                self.purged.append(path)
            elif may_remove:
                path.unlink(missing_ok=True)
                self.removed.append(path)


def _found(ids: Ids, places: Iterable[AnyPath]) -> list[AnyPath]:
    """The files that hold an id; what lies in an object store is copied here to be searched."""
    found: set[AnyPath] = set()
    for place in places:
        with on_disk(place) as folder:
            found.update(place / path.relative_to(folder) for path in search.search(ids, [folder]))
    return sorted(found, key=str)


def _without(ids: Ids, text: str) -> str:
    with contextlib.suppress(ValueError):
        content = json.loads(text)
        if isinstance(content, (dict, list)):
            return json.dumps(purge.without(ids, content))
    return ids.without(text)


def _vacuum(path: Path) -> None:
    """What rows held before they were changed is still in the file until it is written anew."""
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as database:
        database.execute("VACUUM")


def _sources(config: Config, ids: Ids) -> list[str]:
    """The files of the data that hold an id."""
    data = data_paths(config)
    found = []
    for path in filter(None, (data.interactions, data.users, data.evaluation)):
        for file in find_files(path, "csv", "data"):
            if "://" not in file.path and search.holds(ids, Path(file.path)):
                found.append(file.path)
    return found


def _show(facts: dict[str, Any], terminal: Terminal) -> None:
    def say(line: str) -> None:
        terminal.console.print(line, soft_wrap=True, highlight=False)

    for old, new in facts["replaced"].items():
        say(f"{MARKS['done']} version {old} is made again without them: version {new}")
    for number, why in facts["kept"].items():
        say(
            f"[red]version {number} can't be made again[/]: {escape(why)}; make another one by `recommender run`, "
            "promote it, and run this again"
        )
    say(
        f"{len(facts['purged']):,} files are written anew, {len(facts['removed']):,} files and folders and "
        f"{len(facts['deleted']):,} versions are deleted"
    )
    for path in facts["left"]:
        what = "can't be searched, for it is damaged" if search.is_damaged(path) else "still there"
        say(f"[red]{what}[/]: {escape(str(path))}")
    for path in facts["sources"]:
        say(f"[yellow]your data[/]: {escape(path)} has them; runs pass over them")
    if not facts["left"] and not facts["kept"]:
        say(f"{MARKS['done']} {facts['users']:,} users are forgotten: a search through everything finds nothing")
