"""A synthetic log of an online school: who watched which course for how long.

    python -m tests.recipes.courses OUT_DIR [--rows 250000] [--seed 0]

Same columns, types and sizes as the tables of the notebook behind `configs/courses.yaml`: `user_course_views.csv`, in
the order of time, and `course_tags.csv` with a tag a row. Hidden in them: users follow a topic from level to level and
watch that for long; what they look into besides they soon leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.recipes.tables import command, write_csv

VIEW_HEADER = ("user_handle", "course_id", "author_handle", "level", "view_time_seconds")
TAG_HEADER = ("course_id", "course_tags")
LEVELS = ("Beginner", "Intermediate", "Advanced")
_WORDS = (
    *("python", "java", "aws", "react", "docker", "sql", "security", "photoshop", "maya", "unity", "angular", "linux"),
    *("kubernetes", "excel", "azure", "ruby", "swift", "android", "hadoop", "testing", "networking", "devops"),
)
_KINDS = ("fundamentals", "getting-started", "big-picture", "deep-dive", "playbook", "best-practices", "in-depth")
_EVENTS_A_USER = 28
_EVENTS_A_COURSE = 42
_STRAY = 0.25
"""Share of the views that have nothing to do with the user's topics."""


@dataclass(frozen=True)
class Course:
    """A course and what it is about."""

    course_id: str
    author: str
    level: int
    topic: int
    tags: tuple[str, ...]


def make_courses(count: int, rng: np.random.Generator) -> list[Course]:
    """Returns `count` courses on up to 22 topics, each with its words, tags and authors."""
    found = []
    for number in range(count):
        topic, level = int(rng.integers(len(_WORDS))), int(rng.integers(len(LEVELS)))
        word, other = _WORDS[topic], _WORDS[int(rng.integers(len(_WORDS)))]
        title = f"{word}-{other}-{rng.choice(_KINDS)}-{number}"
        tags = tuple(tag for tag in (word, f"{word}-{LEVELS[level].lower()}", other) if rng.random() < 0.8)
        found.append(Course(title, f"author-{topic}-{rng.integers(8)}", level, topic, tags))
    return found


def generate(rows: int = 250_000, seed: int = 0) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Returns about `rows` rows of `VIEW_HEADER`, in the order of time, and those of `TAG_HEADER`."""
    rng = np.random.default_rng(seed)
    courses = make_courses(max(60, rows // _EVENTS_A_COURSE), rng)
    popularity = 1 / rng.permutation(np.arange(1, len(courses) + 1)) ** 0.7
    by_cell = {
        (topic, level): [n for n, course in enumerate(courses) if (course.topic, course.level) == (topic, level)]
        for topic in range(len(_WORDS))
        for level in range(len(LEVELS))
    }
    views: list[tuple[float, tuple[str, ...]]] = []
    for user in range(max(2, rows // _EVENTS_A_USER)):
        topics = rng.choice(len(_WORDS), size=int(rng.integers(1, 4)), replace=False)
        count = 1 + int(rng.exponential(_EVENTS_A_USER))
        time = rng.random()
        for place in range(count):
            level = min(place * len(LEVELS) // count, len(LEVELS) - 1)
            cell = by_cell[int(topics[int(rng.integers(len(topics)))]), level]
            stray = rng.random() < _STRAY or not cell
            members = np.arange(len(courses)) if stray else np.array(cell)
            weight = popularity[members]
            course = courses[int(rng.choice(members, p=weight / weight.sum()))]
            seconds = int(rng.lognormal(4 if stray else 7.5, 1)) * (rng.random() > 0.03)
            values = (str(user), course.course_id, course.author, LEVELS[course.level], str(seconds))
            views.append((time, values))
            time += rng.exponential(0.02)
    views.sort(key=lambda view: view[0])
    return [values for _, values in views], [(course.course_id, tag) for course in courses for tag in course.tags]


def write(folder: Path, rows: int = 250_000, seed: int = 0) -> None:
    """Writes `user_course_views.csv` and `course_tags.csv` into the folder."""
    views, tags = generate(rows, seed)
    write_csv(folder / "user_course_views.csv", VIEW_HEADER, views)
    write_csv(folder / "course_tags.csv", TAG_HEADER, tags)


if __name__ == "__main__":
    command(__doc__, write, rows=250_000)
