"""From views of courses and a table of tags to a catalogue of courses.

    python -m pipeline.data.adapters.courses user_course_views.csv course_tags.csv courses.csv

The views have author and level of their course, the tags come one a row, and a title is nowhere: a course's id is its
title with hyphens.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from components.errors import InputError
from serving.files import replacing

HEADER = ("course_id", "title", "author_handle", "level", "tags")
SEPARATOR = "|"

Row = Mapping[str, str]


def courses(views: Iterable[Row], tags: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Yields a row of `HEADER` for each course of the views or the tags, in the order in which they come.

    Args:
        views: Rows with course_id, author_handle and level; of a course the first counts.
        tags: Rows with course_id and course_tags, which may hold several, separated by `SEPARATOR`.
    """
    about: dict[str, tuple[str, str]] = {}
    of_course: dict[str, dict[str, None]] = {}
    for view in views:
        about.setdefault(view["course_id"], (view["author_handle"], view["level"]))
    for row in tags:
        found = of_course.setdefault(row["course_id"], {})
        found.update(dict.fromkeys(tag for tag in (row["course_tags"] or "").split(SEPARATOR) if tag))
    for course in filter(None, dict.fromkeys([*about, *of_course])):
        author, level = about.get(course, ("", ""))
        yield course, " ".join(course.split("-")), author, level, SEPARATOR.join(of_course.get(course, ()))


def convert(views: Path, tags: Path, out: Path) -> int:
    """Writes the catalogue, which appears whole or not at all; returns the number of courses.

    Raises:
        InputError: A file can't be read or written, or lacks a column.
    """
    try:
        with (
            open(views, encoding="utf-8-sig", newline="") as view_file,
            open(tags, encoding="utf-8-sig", newline="") as tag_file,
        ):
            found = list(courses(csv.DictReader(view_file), csv.DictReader(tag_file)))
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(found)
    except KeyError as error:
        raise InputError(f"{views} or {tags}: there is no column {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{views}, {tags} to {out}: {error}") from None
    return len(found)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("views", "tags", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    try:
        count = convert(arguments.views, arguments.tags, arguments.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{count:,} courses in {arguments.out}")


if __name__ == "__main__":
    main()
