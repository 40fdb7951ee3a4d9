"""The model manager: configs that add, remove and change models and labels, while things load, poll and stop."""

from __future__ import annotations

import random
import threading
import time

import pytest
from tensorflow_serving.apis import model_pb2

from serving.server.core import ServerCore
from serving.server.status import StatusError
from tests.serving.fake_models import FakeModel, Gate, labels, model, put, remove, server_config

_SECONDS = 20  # long enough for any machine


@pytest.fixture
def start():
    """Starts cores with short poll times; all are stopped in the end."""
    cores = []

    def started(config=None, load=FakeModel, **options):
        core = ServerCore(load, **{"poll_seconds": 0.02, "load_retry_seconds": 60.0, **options})
        cores.append(core)
        if config is not None:
            core.apply(config)
        core.start()
        if config is not None and load is FakeModel:
            core.reload(config, _SECONDS)
        return core

    yield started
    for core in cores:
        core.stop(_SECONDS)


@pytest.fixture
def base(tmp_path):
    """Versions 1 and 2."""
    for number in (1, 2):
        put(tmp_path / "m", number)
    return tmp_path / "m"


def spec(name="m", version=None, label=None):
    asked = model_pb2.ModelSpec(name=name)
    if version is not None:
        asked.version.value = version
    if label is not None:
        asked.version_label = label
    return asked


def answers(core, **asked):
    """The version that answers, or the name of the code that says why not."""
    try:
        with core.acquire(spec(**asked)) as (version, _):
            return version
    except StatusError as error:
        return error.code.name


def states(core, name="m"):
    return {state.version: state.state for state in core.states(spec(name))}


def refused(core, config):
    with pytest.raises(StatusError) as caught:
        core.reload(config, _SECONDS)
    return caught.value.code.name, caught.value.message


def eventually(condition):
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.smoke
def test_what_a_request_means(start, base):
    core = start(server_config(model("m", base, "all {}")))
    core.reload(server_config(model("m", base, "all {}", stable=1)))
    assert answers(core) == 2
    assert answers(core, version=1) == 1
    assert answers(core, label="stable") == 1
    assert answers(core, version=0) == "NOT_FOUND"
    assert answers(core, label="canary") == "INVALID_ARGUMENT"
    assert answers(core, name="other") == "NOT_FOUND"
    assert answers(core, name="other", label="stable") == "INVALID_ARGUMENT"
    assert answers(core, name="") == "INVALID_ARGUMENT"
    assert [state.version for state in core.states(spec(version=1))] == [1]
    assert [state.version for state in core.states(spec(label="stable"))] == [2, 1]
    with pytest.raises(StatusError, match="Could not find version 3 of model m"):
        core.states(spec(version=3))
    with pytest.raises(StatusError, match="Could not find any versions of model other"):
        core.states(spec("other"))


def test_models_come_change_and_go(start, base, tmp_path):
    put(tmp_path / "n", 7)
    core = start(server_config(model("m", base)))
    core.reload(server_config(model("m", base), model("n", tmp_path / "n")))
    assert (answers(core), answers(core, name="n")) == (2, 7)
    core.reload(server_config(model("n", tmp_path / "n")))
    assert (answers(core), answers(core, name="n")) == ("NOT_FOUND", 7)
    eventually(lambda: states(core) == {2: "END"})
    core.reload(server_config(model("m", base, "specific { versions: 1 }")))
    assert (answers(core), answers(core, name="n")) == (1, "NOT_FOUND")
    core.reload(server_config())
    assert answers(core) == "NOT_FOUND"
    assert core.serves()


def test_a_policy_that_changes_swaps_before_the_reload_returns(start, base):
    core = start(server_config(model("m", base)))
    for wanted in (1, 2, 1):
        core.reload(server_config(model("m", base, f"specific {{ versions: {wanted} }}")))
        assert answers(core) == wanted


def test_the_same_label_on_two_models(start, base, tmp_path):
    put(tmp_path / "n", 7)
    config = server_config(model("m", base), model("n", tmp_path / "n"))
    core = start(config)
    core.reload(server_config(model("m", base, stable=2), model("n", tmp_path / "n", stable=7)))
    assert (answers(core, label="stable"), answers(core, name="n", label="stable")) == (2, 7)


def test_a_label_may_only_point_to_a_loaded_version(start, base, tmp_path):
    put(tmp_path / "n", 7)
    core = start(server_config(model("m", base)))
    core.reload(server_config(model("m", base, stable=2)))
    for config in (
        server_config(model("m", base, "all {}", stable=1)),
        server_config(model("m", base, "all {}", stable=2, canary=1)),
        server_config(model("m", base, "all {}", stable=2), model("n", tmp_path / "n", stable=7)),
    ):
        code, message = refused(core, config)
        assert code == "FAILED_PRECONDITION"
        assert "which is not currently available for inference" in message
    time.sleep(0.1)  # five looks at the disk
    assert states(core) == {2: "AVAILABLE"}
    assert answers(core, label="stable") == 2
    assert answers(core, name="n") == "NOT_FOUND"
    core.reload(server_config(model("m", base, "all {}", stable=2)))
    core.reload(server_config(model("m", base, "all {}", stable=1, canary=2)))
    assert (answers(core, label="stable"), answers(core, label="canary")) == (1, 2)
    core.reload(server_config(model("m", base, "all {}", canary=2)))
    assert answers(core, label="stable") == "INVALID_ARGUMENT"


def test_labels_of_versions_that_are_not_loaded_yet(start, base):
    config = server_config(model("m", base, "specific { versions: 2 }", stable=2))
    with pytest.raises(StatusError, match="Request to assign label to version 2 of model m"):
        start().apply(config)
    core = start(config, labels_before_versions=True)
    assert answers(core, label="stable") == 2
    # A new label may, one that moves may not.
    core.reload(server_config(model("m", base, "specific { versions: 2 }", stable=2, canary=9)))
    assert answers(core, label="canary") == "NOT_FOUND"
    assert refused(core, server_config(model("m", base, stable=9)))[0] == "FAILED_PRECONDITION"
    assert answers(core, label="stable") == 2


@pytest.mark.parametrize(
    ("bodies", "text"),
    [
        (["name: 'm' base_path: '/a'", "name: 'm' base_path: '/b'"], "Illegal to list model m multiple times"),
        (["base_path: '/a'"], "without a name"),
        (["name: 'n' base_path: 'a'"], r"to have an absolute path or URI; got base_path\(\)=a"),
        (["name: 'n'"], r"got base_path\(\)=$"),
        (["name: 'n' base_path: 'hdfs://bucket/a'"], "reads local folders"),
        (["name: 'n' base_path: '/a' model_type: TENSORFLOW"], "Illegal setting both"),
    ],
)
def test_configs_that_are_wrong_in_themselves_change_nothing(start, base, bodies, text):
    core = start(server_config(model("m", base)))
    with pytest.raises(StatusError, match=text) as caught:
        core.reload(server_config(*bodies))
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert answers(core) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model_platform": ""}, "Illegal setting neither"),
        ({"model_platform": "jax"}, "Model m requests unsupported platform jax"),
        ({"model_platform": "", "model_type": 2}, "model_type choice 2 not supported"),
    ],
)
def test_platforms(start, base, change, text):
    config = server_config(model("m", base))
    for name, value in change.items():
        setattr(config.model_config_list.config[0], name, value)
    assert text in refused(start(), config)[1]


def test_what_is_no_list_of_models(start, base):
    config = server_config(model("m", base))
    core = start(config)
    other = type(config)()
    core.reload(other)
    assert answers(core) == 2
    other.custom_model_config.value = b"x"
    code, message = refused(core, other)
    assert (code, answers(core)) == ("FAILED_PRECONDITION", 2)
    assert message.startswith("Cannot transition to requested config.")


def test_logging_is_accepted(start, base):
    config = server_config(model("m", base) + " logging_config { sampling_config { sampling_rate: 0.1 } }")
    assert answers(start(config)) == 2


def test_a_new_model_that_cannot_be_loaded(start, base, tmp_path):
    put(tmp_path / "bad", 3, "garbage")
    core = start(server_config(model("m", base)))
    code, message = refused(core, server_config(model("m", base), model("bad", tmp_path / "bad")))
    assert (code, message) == (
        "UNKNOWN",
        "1 model(s) did not become available: {{{name: bad version: 3} due to error: UNKNOWN: bad model: garbage}, }",
    )
    assert answers(core) == 2
    assert not core.serves()


def test_a_reload_that_takes_too_long_is_taken_on_all_the_same(start, base, tmp_path):
    core = start(server_config(model("m", base)))
    with pytest.raises(StatusError) as caught:
        core.reload(server_config(model("m", base), model("n", tmp_path / "n")), timeout=0.05)
    assert caught.value.code.name == "DEADLINE_EXCEEDED"
    put(tmp_path / "n", 1)
    eventually(lambda: answers(core, name="n") == 1)


def test_a_reload_that_is_given_up_waits_no_longer(start, base, tmp_path):
    core = start(server_config(model("m", base)))
    gone = threading.Event()
    both = server_config(model("m", base), model("n", tmp_path / "nothing"))

    def reload():
        with pytest.raises(StatusError, match="not all versions"):
            core.reload(both, _SECONDS, gone.is_set)

    waiting = threading.Thread(target=reload)
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    gone.set()
    core.remind()
    waiting.join(_SECONDS / 2)
    assert not waiting.is_alive()


def test_loads_run_side_by_side(start, tmp_path):
    gate = Gate()
    for number in (1, 2, 3):
        put(tmp_path / "m", number)
        put(tmp_path / "n", number)
    core = start(server_config(model("m", tmp_path / "m", "all {}"), model("n", tmp_path / "n")), gate, load_threads=3)
    eventually(lambda: gate.inside == 3)
    time.sleep(0.05)
    assert gate.inside == 3
    assert answers(core) == "NOT_FOUND"
    gate.opened.set()
    eventually(lambda: states(core) == dict.fromkeys((1, 2, 3), "AVAILABLE") and answers(core, name="n") == 3)


def test_reload_while_a_version_loads(start, base):
    gate = Gate()
    core = start(server_config(model("m", base)), gate)
    eventually(lambda: gate.inside == 1)
    core.apply(server_config(model("m", base, "specific { versions: 1 }")))  # returns although 2 is loading
    waiting = threading.Thread(target=core.reload, args=(server_config(model("m", base, "all {}")), _SECONDS))
    waiting.start()
    assert answers(core) == "NOT_FOUND"
    gate.opened.set()
    waiting.join(_SECONDS)
    assert not waiting.is_alive()
    assert states(core) == {1: "AVAILABLE", 2: "AVAILABLE"}


def test_a_model_removed_while_it_loads(start, base):
    gate = Gate()
    core = start(server_config(model("m", base)), gate)
    eventually(lambda: gate.inside == 1)
    core.reload(server_config(), _SECONDS)
    gate.opened.set()
    eventually(lambda: states(core) == {2: "END"})
    assert answers(core) == "NOT_FOUND"


def test_stop_while_a_version_loads(base):
    gate = Gate()
    core = ServerCore(gate, poll_seconds=0.02)
    core.apply(server_config(model("m", base)))
    core.start()
    eventually(lambda: gate.inside == 1)
    waiting = threading.Thread(target=lambda: refused(core, server_config(model("m", base), model("n", base))))
    waiting.start()
    core.stop(_SECONDS)
    gate.opened.set()
    waiting.join(_SECONDS)
    assert not waiting.is_alive()
    eventually(lambda: states(core) == {2: "END"})
    assert refused(core, server_config(model("m", base)))[0] == "UNAVAILABLE"


def test_stop_waits_for_the_requests_that_run(start, base):
    core = start(server_config(model("m", base)))
    with core.acquire(spec()) as (_, lent):
        core.stop(0.05)
        assert not lent.closed
        assert answers(core) == "NOT_FOUND"
    core.stop(_SECONDS)
    assert lent.closed


def test_one_look_for_each_config(start, base):
    core = start(server_config(model("m", base)), poll_seconds=0)
    put(base, 3)
    time.sleep(0.1)
    assert answers(core) == 2
    core.reload(server_config(model("m", base, "all {}")))
    assert answers(core) == 3


def test_retries_need_no_look(start, tmp_path):
    put(tmp_path / "m", 1, "garbage")
    tried = []

    def load(path):
        tried.append(path)
        if len(tried) == 3:
            (tmp_path / "m" / "1" / "model").write_text("ok", encoding="utf-8")
        return FakeModel(path)

    core = start(server_config(model("m", tmp_path / "m")), load, poll_seconds=0, load_retry_seconds=0.01)
    eventually(lambda: answers(core) == 1)
    assert len(tried) == 3


def test_serving_is_told(start, tmp_path):
    told = []
    core = start(on_serving=lambda: told.append(len(told)))
    eventually(lambda: told == [0])  # no models, none missing
    core.apply(server_config(model("m", tmp_path / "later")))
    eventually(lambda: told == [0, 1])
    put(tmp_path / "later", 1)
    eventually(lambda: told == [0, 1, 2])


def test_removed_models_are_not_remembered_for_ever(start, tmp_path):
    core = start()
    for number in range(60):
        core.apply(server_config(model(f"m{number}", tmp_path)))
    core.apply(server_config())
    assert len(core._models) <= 51


@pytest.mark.slow
@pytest.mark.smoke
def test_no_request_fails_and_none_gets_the_wrong_version_while_all_changes(start, base):
    """Labels move, policies change, folders come and go, and four clients ask all the while."""
    core = start(server_config(model("m", base, "all {}")))
    core.reload(server_config(model("m", base, "all {}", stable=1)))
    stop, wrong, asked = threading.Event(), [], [0] * 4

    def ask(client):
        while not stop.is_set():
            for wanted in ({}, {"label": "stable"}):
                try:
                    with core.acquire(spec(**wanted)) as (version, lent):
                        time.sleep(0)
                        if lent.closed or not lent.path.endswith(f"/{version}"):
                            wrong.append((wanted, version))
                except StatusError as error:
                    wrong.append((wanted, error.message))
                asked[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    random.seed(7)
    stable = 1
    for new in range(3, 23):
        put(base, new)
        wanted = f"specific {{ versions: {stable} versions: {new} }}"
        core.reload(
            server_config(f"name: 'm' base_path: '{base}' model_version_policy {{ {wanted} }}" + labels(stable=stable))
        )
        if random.random() < 0.7:  # promoted; else rolled back
            old, stable = stable, new
        else:
            old = new
        core.reload(server_config(model("m", base, wanted, stable=stable)))
        core.reload(server_config(model("m", base, f"specific {{ versions: {stable} }}", stable=stable)))
        assert answers(core, label="stable") == stable
        remove(base, old)
    stop.set()
    for thread in threads:
        thread.join(_SECONDS)
    assert wrong == []
    assert min(asked) > 0
    assert states(core)[stable] == "AVAILABLE"
