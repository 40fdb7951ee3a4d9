"""A preview of a log counts what InteractionGen counts."""

import json

import pytest

from components.errors import InputError
from components.interaction_gen.log import inspect
from components.interaction_gen.preview import preview
from components.interaction_gen.settings import InteractionSettings
from tests.components.interaction_gen.small import ROWS, generate, log_of

OPTIONS = [
    {"split": {"method": "hash", "eval_fraction": 0.3}},
    {"min_user_events": 3, "min_item_events": 2},
    {"top_users": 2, "deduplicate": "user_item", "max_user_events": 3, "max_item_events": 1, "half_life": 0.0001},
    {
        "columns": {"event": "item_id"},
        "event_weights": {f"i{k}": 1 - 2 * (k == 3) for k in range(7)},
        "min_item_events": 2,
    },
    {"columns": {"timestamp": None}, "min_item_events": 3, "split": {"method": "leave_last_n"}},
]


def preview_of(folder, content, options=None, users="", cutoff="", **more):
    (folder / "log.csv").write_text(content)
    if users:
        (folder / "users.csv").write_text(users)
    settings = InteractionSettings.model_validate(options or {})
    return preview(
        inspect(settings, str(folder / "log.csv"), str(folder / "users.csv") if users else "", cutoff), **more
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_it_counts_what_a_run_counts(tmp_path, options):
    rows = [*ROWS, ROWS[0], ("u1", "i1", 1001), ("u9", "i1", 1100)]
    content = log_of(rows) + "broken\n"
    options = {**options, "max_rejected_fraction": 0.1, "partitions": 3}
    _, _, rejects = generate(tmp_path, content, options)
    assert preview_of(tmp_path, content, options).facts == json.loads((rejects / "report.json").read_text())


@pytest.mark.slow
def test_users_are_joined_and_counted_alike(tmp_path):
    users = "user_id,age\nu1,30\nu2,\n"
    options = {"users": {"features": {"age": {"type": "number"}}}}
    _, _, rejects = generate(tmp_path, log_of(ROWS), options, users)
    found = preview_of(tmp_path, log_of(ROWS), options, users)
    assert found.facts == json.loads((rejects / "report.json").read_text())
    assert found.users.head["age"].to_pylist() == ["30", ""]
    found.check()
    assert {*found.events.filter(found.events["age"].is_valid())["user_id"].to_pylist()} == {"u1"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("user_id,item_id,timestamp\n", {}, "there are no rows"),
        ("user_id,item_id,timestamp\nu,i\n", {}, "1 of 1 rows can't be used"),
        (log_of(ROWS), {"min_user_events": 50}, "no training event is left.*min_user_events 50"),
        (log_of(ROWS[:2]), {}, "the evaluation split is empty: too few events"),
        (log_of(ROWS) + 'u,"i,1\n', {}, "a quote is opened and not closed"),
    ],
)
def test_it_ends_as_a_run_does(tmp_path, content, options, message):
    with pytest.raises(InputError, match=message):
        preview_of(tmp_path, content, options).check()


def test_a_file_whose_times_are_in_another_unit(tmp_path):
    (tmp_path / "log-2.csv").write_text(log_of([("u", "i", 1_600_000_000_000)]))
    (tmp_path / "log-1.csv").write_text(log_of([("u", "i", 1_600_000_000)]))
    found = preview(inspect(InteractionSettings(), str(tmp_path / "log-*.csv"), "", ""))
    with pytest.raises(InputError, match=r"log-2\.csv: column 'timestamp' looks like milliseconds"):
        found.check()


def test_rules_that_count_a_whole_log_are_passed_over_on_a_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("components.tables.sampling._MIN_SIZE", 1)
    rows = [(f"u{k}", f"i{k % 9}", 1_600_000_000 + k) for k in range(3000)]
    found = preview_of(
        tmp_path, log_of(rows), {"min_user_events": 2, "min_item_events": 900, "top_users": 1}, size=9000
    )
    assert not found.rows.share.whole
    found.check()
    counts = found.facts["events"]
    assert counts["train"] + counts["eval"] == found.rows.share.rows == len(found.events)
    none = preview_of(tmp_path, log_of(rows), {"columns": {"event": "item_id"}, "event_weights": {"x": 1}}, size=9000)
    with pytest.raises(InputError, match="no event is left"):
        none.check()
