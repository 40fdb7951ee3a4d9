"""What serves since when, how old its data are, how the last nights went, and what is wrong."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.versions import newest, newest_event
from pipeline.config import Config
from pipeline.local.output import refresh
from pipeline.local.place import Place
from pipeline.nightly import journal
from pipeline.nightly.journal import FEEDBACK, Night, hours_since
from serving.contract import STABLE
from serving.promotion import files
from serving.promotion.files import DONE, AuditEntry

_NIGHTS = 7
_SKEW_H = 1.0
"""So far clocks may differ."""
AVAILABLE = "AVAILABLE"


def status(config: Config, place: Place) -> dict[str, Any]:
    """Looks at the versions, the replicas and the journal.

    Args:
        config: The config.
        place: Where versions lie, and who serves them.

    Returns:
        `name`, `time`, `serving` (an entry a label), `newest` (the version pushed last, or None), `canary_share`,
        `replicas` (state of each version by target; None for one that doesn't answer), `nights` (the last ones, oldest
        first), `online` (what the last feedback says of all and of each version, or None) and `problems`, a sentence
        for each thing that a person must see to.

    Raises:
        InputError: The journal is damaged.
        PromotionError: What promotion keeps is.
    """
    refresh(config, (journal.FILE, FEEDBACK))
    nights = journal.read(config.folder() / journal.FILE)
    aspired = files.aspired(files.read_config(place.base_path), place.name) or files.Aspired()
    audit = files.read_audit(place.base_path, place.name, genuine=True)
    last = newest(place.versions)
    facts = {
        "name": place.name,
        "time": journal.now(),
        "serving": [_label(place, label, version, audit) for label, version in sorted(aspired.labels.items())],
        "newest": None if last is None else last.number,
        "canary_share": files.read_share(place.base_path, place.name),
        "replicas": place.states(),
        "nights": [_summary(night) for night in nights[-_NIGHTS:]],
        "online": _online(config.folder() / FEEDBACK),
    }
    interrupted = files.read_journal(place.base_path) is not None
    return {**facts, "problems": list(_problems(config, facts, nights, interrupted))}


def _label(place: Place, label: str, version: int, audit: list[AuditEntry]) -> dict[str, Any]:
    moved = [e for e in audit if e.label == label and e.to_version == version != e.from_version and e.result == DONE]
    event = newest_event(place.versions / str(version))
    age = None if event is None else (datetime.datetime.now(datetime.timezone.utc) - event).total_seconds() / 86_400
    return {
        "label": label,
        "version": version,
        "since": moved[-1].time if moved else None,
        "by": moved[-1].who if moved else None,
        "newest_event": None if event is None else event.isoformat(timespec="seconds"),
        "age_days": age,
        "on_disk": version in files.versions_on_disk(place.base_path, place.name),
    }


def _online(folder: Path) -> dict[str, Any] | None:
    """What came of what was served, by the newest `feedback.json`."""
    path = folder / "feedback.json"
    try:
        facts = json.loads(path.read_text("utf-8"))
        figures = [one for one in facts["figures"] if one["dimension"] in ("all", "version")]
        return {"newest_event": facts["newest_event"], "level": facts["level"], "figures": figures}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged: {error}; remove it, the next feedback writes it anew") from None


def _summary(night: Night) -> dict[str, Any]:
    return {
        "began": night.began,
        "ended": night.ended or None,
        "kills": night.kills,
        "code": night.code if night.ended else None,
        "cause": night.cause,
        "said": [f"{step.name}: {step.said}" for step in night.steps],
    }


def _problems(config: Config, facts: Mapping[str, Any], nights: list[Night], interrupted: bool) -> Iterator[str]:
    settings = config.nightly
    labels = {entry["label"]: entry for entry in facts["serving"]}
    if STABLE not in labels and (nights or facts["newest"] is not None) and settings.release != "none":
        yield "no version is stable: what serves is whatever is newest"
    for entry in labels.values():
        version = entry["version"]
        if not entry["on_disk"]:
            yield f"{entry['label']} is version {version}, which is gone from the disk"
        for target, states in facts["replicas"].items():
            if states is not None and states.get(version) != AVAILABLE:
                yield f"{target} does not serve version {version}, which is {entry['label']}"
    down = [target for target, states in facts["replicas"].items() if states is None]
    if labels and down:
        yield f"no answer from {', '.join(down)}"
    age, oldest = labels.get(STABLE, {}).get("age_days"), settings.max_age_days
    if nights and oldest is not None and age is not None and age > oldest:
        yield f"what serves is made from data that end {age:.1f} days ago (nightly.max_age_days: {oldest:g})"
    if interrupted:
        yield "a promotion is under way, or was killed: the next night, or any promotion command, puts that right"
    yield from _of_nights(settings.max_silence_hours, nights)


def _of_nights(silence: float | None, nights: list[Night]) -> Iterator[str]:
    ended = [night for night in nights if night.ended]
    if nights and not nights[-1].ended and nights[-1].kills:
        yield f"the night that began at {nights[-1].began} was killed {nights[-1].kills} times"
    hours = hours_since(ended[-1].ended) if ended else 0.0
    if hours < -_SKEW_H:
        yield f"the last night ended at {ended[-1].ended}, which is yet to come: is the clock right?"
    elif silence is not None and hours > silence:
        yield f"no night has come to its end for {hours:.0f} hours (nightly.max_silence_hours: {silence:g})"
    last = next((night for night in reversed(ended) if not night.idle), None)
    if last is not None:
        yield from (f"the night of {last.began}, {step.name}: {step.said}" for step in last.steps if step.code)
    if ended and ended[-1].untold:
        whom = ", ".join(ended[-1].unreached) or "nobody"
        yield f"{whom} could {'not ' * bool(ended[-1].unreached)}be told of: {'; '.join(ended[-1].untold)}"
