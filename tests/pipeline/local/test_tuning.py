"""`recommender tune`: the search with a training that is a formula, and what a stop leaves."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from components.errors import InputError
from pipeline.config import Config, load_config
from pipeline.local.tuning import (
    finished,
    open_storage,
    open_study,
    search,
    study_name,
    trial_table,
    with_values,
    write_best,
)
from pipeline.model.settings import ModelSettings, TrainingSettings
from pipeline.terminal import Terminal, listening, remembered_interrupts

SPACE = {
    "model.dim": {"low": 16, "high": 64, "step": 16},
    "model.query_layers": {"choices": [[], [32], [64, 32]]},
    "training.learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
}


def make_config(**tuning: Any) -> Config:
    return Config.model_validate(
        {
            "name": "shop",
            "data": {"interactions": {"path": "log.csv"}},
            "training": {"learning_rate": 0.004},
            "tuning": {"space": SPACE, "trials": 8, **tuning},
        }
    )


class Training:
    """A training that is a formula, best at dim 32, no query layers and learning rate 0.01; remembers its settings."""

    def __init__(self, stop_at: int | None = None, error: BaseException | None = None) -> None:
        self.made: list[tuple[int, tuple[int, ...], float]] = []
        self.stop_at, self.error = stop_at, error

    def __call__(self, model: ModelSettings, training: TrainingSettings, on_epoch: Callable[[dict], None]) -> None:
        self.made.append((model.dim, model.query_layers, training.learning_rate))
        final = 0.5 - abs(model.dim - 32) / 100 - len(model.query_layers) / 10 - abs(training.learning_rate - 0.01)
        for epoch in range(1, 7):
            if len(self.made) == self.stop_at and epoch == 3 and self.error:
                raise self.error
            quality = final * epoch / 5 if epoch < 6 else final / 2  # the fifth is the best
            on_epoch({"epoch": epoch, "loss": 1.0, "hit@10": 2 * quality, "ndcg@10": quality})


class Search:
    """Searches again and again in one storage; `text` is what the terminal showed last."""

    def __init__(self, storage: optuna.storages.BaseStorage) -> None:
        self.storage = storage
        self.text = ""

    def __call__(self, config: Config, train: Any, name: str = "a") -> optuna.Study:
        out = io.StringIO()
        terminal = Terminal(Console(file=out, width=200))
        study = open_study(self.storage, name)
        try:
            with listening(terminal):
                search(config, study, train, terminal)
        finally:
            self.text = out.getvalue()
        return study


@pytest.fixture
def searching() -> Search:
    return Search(optuna.storages.InMemoryStorage())


# ---------------------------------------------------------------- the search


def test_a_search_begins_with_the_config_as_it_is_stays_in_the_space_and_finds_better(searching: Search) -> None:
    train = Training()
    config = make_config(trials=25)
    study = searching(config, train)
    assert train.made[0] == (64, (), 0.004)
    assert len(train.made) == len(finished(study)) == 25
    for dim, layers, rate in train.made:
        assert dim in (16, 32, 48, 64)
        assert layers in ((), (32,), (64, 32))
        assert 0.0001 <= rate <= 0.1
    assert study.best_value > study.trials[0].value
    assert study.best_trial.user_attrs["best_epoch"]["epoch"] == 5
    assert study.best_value == pytest.approx(study.best_trial.user_attrs["best_epoch"]["ndcg@10"])
    lines = searching.text.splitlines()
    assert lines[0].startswith("✓ trial 1 of 25")
    assert "NDCG@10 0.1740 at epoch 5; dim 64, query_layers [], learning_rate 0.004" in lines[0]
    assert sum("pruned" in line for line in lines) == len(study.get_trials(states=[TrialState.PRUNED])) > 0


def test_the_same_seed_searches_the_same_and_another_not(searching: Search) -> None:
    one, same, other = Training(), Training(), Training()
    searching(make_config(), one, "one")
    searching(make_config(), same, "same")
    searching(make_config().model_copy(update={"seed": 1}), other, "other")
    assert one.made == same.made
    assert one.made[0] == other.made[0]
    assert one.made[1:] != other.made[1:]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), KeyError("a bug")])
def test_a_stopped_search_goes_on_with_the_trial_that_it_was_at(searching: Search, error: BaseException) -> None:
    undisturbed, stopped, rest = Training(), Training(4, error), Training()
    searching(make_config(), undisturbed, "undisturbed")
    with pytest.raises(type(error)):
        searching(make_config(), stopped)
    study = searching(make_config(), rest)
    assert stopped.made[:3] + rest.made == undisturbed.made
    assert "3 trials are there from an earlier call" in searching.text
    assert "trial 4 of 8" in searching.text
    assert len(finished(study)) == 8
    assert not study.get_trials(states=[TrialState.RUNNING, TrialState.WAITING])
    again = Training()
    searching(make_config(), again)
    assert again.made == []
    searching(make_config(trials=9), again)
    assert len(again.made) == 1


@pytest.mark.slow
@pytest.mark.smoke
def test_a_search_goes_on_from_its_file_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    first = Search(open_storage(path))
    first(make_config(trials=1), Training(), "another")
    with pytest.raises(KeyboardInterrupt):
        first(make_config(trials=3), Training(3, KeyboardInterrupt()))
    train = Training()
    study = Search(open_storage(path))(make_config(trials=3), train)
    assert len(train.made) == 1
    assert len(finished(study)) == 3


def test_an_interrupt_that_a_callback_swallowed_stops_the_search_after_the_epoch(searching: Search) -> None:
    with remembered_interrupts():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            searching(make_config(), Training())
    assert "trial 1" not in searching.text


def test_a_trial_interrupted_as_it_began_stays_the_first_and_as_configured(searching: Search) -> None:
    with pytest.raises(KeyboardInterrupt):
        searching(make_config(), Training(1, KeyboardInterrupt()))
    train = Training()
    study = searching(make_config(trials=1), train)
    assert train.made == [(64, (), 0.004)]
    assert "1 (as configured)" in shown(trial_table(study, make_config()))


def test_timeout_begins_no_further_trial(searching: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pipeline.local.tuning.time.monotonic", lambda: now[0])

    def train(model: ModelSettings, training: TrainingSettings, on_epoch: Callable[[dict], None]) -> None:
        now[0] += 40
        on_epoch({"epoch": 1, "loss": 1.0, "hit@10": 0.2, "ndcg@10": 0.1})

    study = searching(make_config(timeout=100), train)
    assert len(finished(study)) == 3
    assert "tuning.timeout 100 s is over after 3 of 8 trials" in searching.text


def test_a_trial_that_diverges_is_pruned_however_good_its_ranks_look(searching: Search) -> None:
    def train(model: ModelSettings, training: TrainingSettings, on_epoch: Callable[[dict], None]) -> None:
        on_epoch({"epoch": 1, "loss": 1.0, "hit@10": 0.2, "ndcg@10": 0.1})
        if training.learning_rate != 0.004:
            on_epoch({"epoch": 2, "loss": float("nan"), "hit@10": 1.0, "ndcg@10": 1.0})

    study = searching(make_config(trials=3), train)
    assert [trial.state for trial in finished(study)] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert study.best_value == 0.1
    assert "the loss is no longer a number; dim" in searching.text


def test_a_trial_that_is_too_large_or_not_valid_ends_alone(searching: Search) -> None:
    space = {"model.history": {"choices": ["pooling", "none"]}, "model.dim": {"choices": [64, 4096]}}
    made = []

    def train(model: ModelSettings, training: TrainingSettings, on_epoch: Callable[[dict], None]) -> None:
        made.append(model.history)
        if model.dim == 4096:
            raise MemoryError
        on_epoch({"epoch": 1, "loss": 1.0, "hit@10": 0.2, "ndcg@10": 0.1})

    study = searching(make_config(space=space, trials=12), train)
    assert len(finished(study)) == 12
    assert set(made) == {"pooling"}
    assert "out of memory; history pooling, dim 4096" in searching.text
    assert "not valid together: Value error, history none needs" in searching.text
    with pytest.raises(InputError, match="no trial came to its end: narrow"):
        searching(make_config(space={"model.dim": {"choices": [4096]}}, trials=2), train, "large")


@pytest.mark.slow
@pytest.mark.smoke
def test_a_damaged_study_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    path.write_text("this is no database, though it is long enough to be taken for one by its size alone" * 50)
    with pytest.raises(InputError, match=r"studies.sqlite: .*file is not a database.*remove or rename"):
        open_storage(path)
    path.unlink()
    open_study(open_storage(path), "a")
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"x" * (len(content) - 12288)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"studies.sqlite: .*malformed.*remove or rename"):
        open_storage(path)


# ---------------------------------------------------------------- what comes of it


def shown(table: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=250).print(table)
    return out.getvalue()


def test_the_table_has_the_best_first_and_the_pruned_last(searching: Search) -> None:
    config = make_config(trials=25)
    study = searching(config, Training())
    rows = [line for line in shown(trial_table(study, config)).splitlines() if line.startswith("│")]
    assert len(rows) == 25
    pruned = ["(pruned)" in row for row in rows]
    assert pruned == sorted(pruned)
    values = [float(row.split("│")[2]) for row in rows if "(pruned)" not in row]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(study.best_value, abs=1e-4)
    [configured] = [row for row in rows if "1 (as configured)" in row]
    cells = [cell.strip() for cell in configured.split("│")]
    assert cells[2:5] == ["0.1740", "0.3480", "5"]
    assert cells[6] == "dim 64, query_layers [], learning_rate 0.004"


def test_the_best_file_overrides_the_config(searching: Search, tmp_path: Path) -> None:
    config = make_config(trials=25)
    study = searching(config, Training())
    (tmp_path / "best.yaml").write_text("of an earlier search")
    write_best(tmp_path / "best.yaml", study, config)
    path = tmp_path / "shop.yaml"
    path.write_text("name: shop\nmodel: {dim: 8, dropout: 0.3}\ndata: {interactions: {path: log.csv}}\n")
    loaded = load_config(path, overrides=[tmp_path / "best.yaml"])
    values = study.best_trial.params
    assert loaded.model.dim == values["model.dim"]
    assert list(loaded.model.query_layers) == []
    assert loaded.training.learning_rate == values["training.learning_rate"]
    assert loaded.model.dropout == 0.3
    assert load_config(path, ("model.dim=4",), [tmp_path / "best.yaml"]).model.dim == 4
    assert sorted(each.name for each in tmp_path.iterdir()) == ["best.yaml", "shop.yaml"]


def test_a_trial_has_the_config_but_for_its_values() -> None:
    config = make_config().model_copy(update={"model": ModelSettings(dim=8, query_layers=(4,))})
    model, training = with_values(config, {"model.query_layers": [16, 8], "training.batch_size": 32})
    assert model == ModelSettings(dim=8, query_layers=(16, 8))
    assert training == TrainingSettings(learning_rate=0.004, batch_size=32)


def test_another_space_data_or_config_is_another_study(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "shard").write_text("events")
    folders = [str(tmp_path / "events")]
    custom = {"code": "abc", "model": {"dim": 64}, "seed": 1}
    first = study_name(make_config(), custom, folders)
    assert study_name(make_config(trials=99, timeout=5), dict(reversed(custom.items())), folders) == first
    assert study_name(make_config(space={"model.dim": {"choices": [8]}}), custom, folders) != first
    assert study_name(make_config(), custom | {"model": {"dim": 65}}, folders) != first
    (tmp_path / "events" / "shard").write_text("other events")
    assert study_name(make_config(), custom, folders) != first
