"""What is said of a log that was read."""

import pytest

from components.errors import InputError
from components.interaction_gen import sanity
from components.interaction_gen.log import Log
from components.interaction_gen.outcome import as_facts, check, summary
from components.interaction_gen.settings import InteractionSettings
from components.interaction_gen.split import Cut
from components.tables.reading import TableFile
from components.tables.row_report import Report


def log_of(user_files=(), **options):
    settings = InteractionSettings.model_validate(options)
    files = (TableFile("log.csv", "csv", 1, 0),)
    return Log(settings, files, frozenset(), user_files, "s", None, 1)


def report_of(train, evaluation, **more):
    report = Report(rows=10, **more)
    report.split_events.update(train=train, eval=evaluation)
    report.dropped["duplicates"] = 2
    return report


def test_the_facts_and_the_line():
    report = report_of(6, 1)
    report.reject(0, "log.csv", 3, "item_id is missing", "u,,1")
    facts = as_facts(report, log_of(max_rejected_fraction=0.5), Cut(1_600_000_000_000_000), sanity.Sanity())
    assert (facts["cut"], facts["timed"], facts["span"], facts["problem"]) == (1_600_000_000_000_000, True, None, None)
    assert summary({**facts, "warnings": ["odd"]}) == (
        "10 rows read: 6 train, 1 eval (cut 2020-09-13 12:26:40 UTC); dropped 2 (2 duplicates); "
        "rejected 1 (1 item_id is missing); warning: odd"
    )
    assert "1 × item_id is missing" in as_facts(report, log_of(), None, sanity.Sanity())["problem"]


@pytest.mark.parametrize(
    ("train", "evaluation", "options", "message"),
    [
        (0, 0, {}, "no event is left; of 10 rows, dropped are 2"),
        (0, 3, {}, r"no training event is left \(3 for evaluation\)"),
        (3, 0, {}, "the evaluation split is empty: too few events for split.eval_fraction"),
        (3, 0, {"split": {"method": "leave_last_n", "n": 4}}, "no user has more than split.n = 4 events"),
        (3, 0, {"split": {"method": "files", "eval_path": "x"}}, "split.eval_path has no usable event"),
    ],
)
def test_a_log_that_no_run_can_go_on_with(train, evaluation, options, message):
    log = log_of(**options)
    with pytest.raises(InputError, match=f"log.csv: .*{message}"):
        check(as_facts(report_of(train, evaluation), log, None, sanity.Sanity()), log)


def test_users_who_are_not_in_the_log():
    log = log_of(user_files=(TableFile("users.csv", "csv", 1, 0),), users={"features": {}})
    facts = as_facts(report_of(6, 2), log, None, sanity.Sanity())
    with pytest.raises(InputError, match=r"users.csv lists none of the log's users: is users.id right\?"):
        check(facts, log)
    check({**facts, "facts": {"events of listed users": 1}}, log)
