"""What the generators count while they read tables, and the words that they say about it."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

MAX_SAMPLES = 1000
"""Rejected rows that are written out."""
ROWS_OF_USERS = "rows of users"
"""The fact that counts rows of the users' table."""

_NAMED_ROWS = 5
_TEXT_LENGTH = 500


@dataclass(frozen=True, order=True)
class Sample:
    """A rejected row as it is written to rejected.csv."""

    file: int
    row: int
    source: str
    reason: str
    line: str


@dataclass
class Report:
    """Counts that can be added up over blocks of rows and partitions."""

    rows: int = 0
    """Rows read."""
    rejected: Counter = field(default_factory=Counter)
    """Unusable rows by (source, reason)."""
    dropped: Counter = field(default_factory=Counter)
    """Rows that a rule of the settings leaves out, by rule."""
    samples: list[Sample] = field(default_factory=list)
    """The first rejected rows."""
    problems: list[str] = field(default_factory=list)
    """Messages about faults that end the run."""
    split_events: Counter = field(default_factory=Counter)
    """Events written, by split."""
    facts: Counter = field(default_factory=Counter)
    """Other counts by name."""

    def reject(self, file: int, source: str, row: int, reason: str, line: str, lines: int = 1) -> None:
        """Counts a row that can't be used; a value with line breaks in it (an unclosed quote?) as that many rows."""
        self.rows += lines - 1
        self.rejected[source, reason] += lines
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(Sample(file, row, source, reason, line[:_TEXT_LENGTH]))

    def rejected_fraction(self) -> float:
        """Returns the share of the rows that can't be used."""
        rows = self.rows + self.facts[ROWS_OF_USERS]
        return sum(self.rejected.values()) / rows if rows else 0.0


def unreadable(path: str, error: Exception) -> Report:
    """Returns the report on a file that can't be read; its message names the file."""
    return Report(problems=[str(error) if path in str(error) else f"{path}: {error}"])


def merged(reports: Iterable[Report]) -> Report:
    """Adds up reports; the order doesn't matter."""
    total = Report()
    samples: list[Sample] = []
    for report in reports:
        total.rows += report.rows
        total.problems = sorted({*total.problems, *report.problems})
        samples += report.samples
        for name in ("rejected", "dropped", "split_events", "facts"):
            getattr(total, name).update(getattr(report, name))
    total.samples = sorted(samples)[:MAX_SAMPLES]
    return total


def problem(report: Report, max_rejected_fraction: float, what: str) -> Optional[str]:
    """Returns why the run has to stop, or None."""
    if report.problems:
        return "\n".join(report.problems)
    if report.rejected_fraction() <= max_rejected_fraction:
        return None
    lines = []
    for (source, reason), count in report.rejected.most_common(10):
        named = [sample for sample in report.samples if (sample.source, sample.reason) == (source, reason)]
        numbers = ", ".join(str(sample.row) for sample in named[:_NAMED_ROWS])
        example = f": {named[0].line[:80]!r}" if named else ""
        more = ", …" if count > _NAMED_ROWS else ""
        lines.append(f"  {source}: {count:,} × {reason} (rows {numbers}{more}{example})")
    total, rows = sum(report.rejected.values()), report.rows + report.facts[ROWS_OF_USERS]
    return (
        f"{what}: {total:,} of {rows:,} rows can't be used, more than max_rejected_fraction "
        f"{max_rejected_fraction:g} allows; mend the data or raise it:\n" + "\n".join(lines)
    )


def counted(counts: Mapping[Any, int]) -> str:
    """Returns "1,234 (1,000 reason, 234 other reason)", or "0"."""
    total = sum(counts.values())
    if not total:
        return "0"
    parts = sorted(((reason, count) for reason, count in counts.items() if count), key=lambda pair: (-pair[1], pair[0]))
    return f"{total:,} ({', '.join(f'{count:,} {reason}' for reason, count in parts)})"


def by_reason(rejected: Mapping[tuple[str, str], int]) -> Counter:
    """Returns the counts of rejected rows without their files."""
    counts: Counter = Counter()
    for (_, reason), count in rejected.items():
        counts[reason] += count
    return counts


def as_dict(report: Report) -> dict[str, Any]:
    """Returns the counts as JSON types."""
    rejected = [
        {"source": source, "reason": reason, "rows": count}
        for (source, reason), count in sorted(report.rejected.items())
    ]
    return {
        "rows": report.rows,
        "rejected": rejected,
        "dropped": dict(sorted(report.dropped.items())),
        "events": dict(sorted(report.split_events.items())),
        "facts": dict(sorted(report.facts.items())),
    }


def as_csv(samples: Iterable[Sample]) -> str:
    """Returns the rejected rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "row", "reason", "line"])
    writer.writerows([sample.source, sample.row, sample.reason, sample.line] for sample in samples)
    return text.getvalue()
