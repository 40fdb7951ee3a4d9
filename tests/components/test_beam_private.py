"""Beam remembers what it would work out again, and answers as it did."""

from __future__ import annotations

import functools
from typing import Any

import apache_beam as beam
import objsize
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions, TypeOptions
from apache_beam.runners.worker import statecache
from apache_beam.transforms import core, userstate
from apache_beam.transforms.core import DoFn

from components import beam_private

VIEW_AS, ARGUMENTS, SPECS = (
    getattr(function, "__wrapped__", function)
    for function in (PipelineOptions.view_as, core.get_function_args_defaults, userstate.get_dofn_specs)
)
"""As Beam has them, whatever test has let it remember before."""


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PipelineOptions, "view_as", VIEW_AS)
    monkeypatch.setattr(core, "get_function_args_defaults", ARGUMENTS)
    monkeypatch.setattr(userstate, "get_dofn_specs", SPECS)
    monkeypatch.setattr(statecache, "objsize", objsize)


@pytest.fixture
def asked(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The methods whose arguments Beam has worked out since."""
    methods: list[Any] = []

    def note(method: Any) -> Any:
        methods.append(getattr(method, "__func__", method))
        return ARGUMENTS(method)

    monkeypatch.setattr(core, "get_function_args_defaults", note)
    beam_private.remember()
    return methods


COUNT = DoFn.StateParam(userstate.CombiningValueStateSpec("count", sum))
TOTAL = DoFn.StateParam(userstate.CombiningValueStateSpec("total", sum))


class Stateful(DoFn):
    def process(self, element: int, place: Any = DoFn.TimestampParam, *, named: int = 3, count: Any = COUNT):
        yield element

    def finish_bundle(self, late: str = "x") -> None:
        pass


class Inherited(Stateful):
    def process(self, element: int, other: int = 4):
        yield element


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def inner(self: Any, *arguments: Any) -> Any:
        return function(self, *arguments)

    return inner


class Wrapped(DoFn):
    @wrapped
    def process(self, element: int, decorated: int = 5):
        yield element


def of_instance() -> DoFn:
    """Such as Beam makes of functions: the method is the instance's own."""
    dofn = Stateful()
    dofn.process = lambda element, own=6: [element]
    return dofn


@pytest.mark.parametrize(
    ("make", "method", "expected"),
    [
        (Stateful, "process", (["element", "place"], [DoFn.TimestampParam])),
        (Stateful, "finish_bundle", (["late"], ["x"])),
        (Inherited, "process", (["element", "other"], [4])),
        (Inherited, "finish_bundle", (["late"], ["x"])),
        (Wrapped, "process", (["element", "decorated"], [5])),
        (of_instance, "process", (["element", "own"], [6])),
        (lambda: beam.ParDo(str.strip).dofn, "process", (["element"], [])),
        (lambda: beam.Map(len).dofn, "setup", ([], [])),
    ],
)
def test_arguments_are_beams(make: Any, method: str, expected: Any, forgetful: None) -> None:
    before = core.get_function_args_defaults(getattr(make(), method))
    beam_private.remember()
    for _ in range(2):
        assert core.get_function_args_defaults(getattr(make(), method)) == before == expected


def test_what_a_caller_changes_is_not_remembered(asked: list[Any]) -> None:
    names, defaults = core.get_function_args_defaults(Inherited().process)
    names.append("mine")
    defaults.clear()
    assert core.get_function_args_defaults(Inherited().process) == (["element", "other"], [4])


def test_a_methods_arguments_are_worked_out_once(asked: list[Any]) -> None:
    for _ in range(3):
        core.get_function_arguments(Inherited(), "process")
    assert asked == [Inherited.process]


def test_putting_a_pipeline_together_asks_once_for_each_class(asked: list[Any]) -> None:
    """Beam goes on asking where the memory is."""

    for _ in range(2):
        pipeline = beam.Pipeline(argv=[])
        numbers = pipeline | beam.Create([1])
        for step in range(30):
            numbers |= f"step {step}" >> beam.ParDo(Inherited())
        pipeline.to_runner_api()
        assert asked.count(Inherited.process) == 1


def test_state_is_still_seen(asked: list[Any]) -> None:
    class Counting(DoFn):
        def process(self, pair: Any, count: Any = COUNT):
            yield pair

    assert [userstate.is_stateful_dofn(dofn()) for dofn in (Counting, Inherited, Counting)] == [True, False, True]


class Named(Stateful):
    """With a state under another name than that of `Stateful`."""

    def process(self, element: int, total: Any = TOTAL):
        yield element


def bound() -> DoFn:
    """The method is the instance's own, and one that Beam looks at."""
    dofn = Inherited()
    dofn.process = Named().process
    return dofn


@pytest.mark.parametrize("make", [Stateful, Inherited, Named, Wrapped, of_instance, bound, lambda: beam.Map(len).dofn])
def test_state_is_beams_whoever_was_asked_before(make: Any, forgetful: None) -> None:
    before = userstate.get_dofn_specs(make())
    beam_private.remember()
    for other in (Stateful, of_instance, bound, Named):
        userstate.get_dofn_specs(other())
        states, timers = userstate.get_dofn_specs(make())
        assert (states, timers) == before
        states.add("mine")
        timers.add("mine")


def test_classes_state_is_worked_out_once(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []

    def note(dofn: Any) -> Any:
        looked.append(type(dofn))
        return SPECS(dofn)

    monkeypatch.setattr(userstate, "get_dofn_specs", note)
    beam_private.remember()
    for _ in range(3):
        assert userstate.is_stateful_dofn(Named())
        userstate.validate_stateful_dofn(Named())
    assert looked == [Named]


NAMESPACE = {"one": [1, 2, 3]}


@pytest.mark.parametrize(
    "value",
    [b"abc" * 100, [1, {"a": ("b", 2.5)}], [NAMESPACE, NAMESPACE], len, of_instance, Named, [beam, Stateful()]],
)
def test_what_a_side_input_weighs_is_what_it_weighs_to_beam(value: Any, forgetful: None) -> None:
    before = statecache.get_deep_size(value)
    beam_private.remember()
    assert statecache.get_deep_size(value) == before


def test_side_inputs_are_weighed_without_a_look_at_all_modules(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    beam_private.remember()
    monkeypatch.setattr(objsize.traverse, "_iter_modules_globals", lambda: pytest.fail("it looked"))
    assert statecache.get_deep_size([b"abc"]) > 0


def test_views_share_their_values(forgetful: None) -> None:
    beam_private.remember()
    options = PipelineOptions(["--streaming", "--setup_file=here"])
    other = PipelineOptions([])
    assert options.view_as(StandardOptions) is options.view_as(StandardOptions)
    assert (options.view_as(StandardOptions).streaming, other.view_as(StandardOptions).streaming) == (True, False)
    options.view_as(StandardOptions).streaming = False
    assert options.view_as(StandardOptions).streaming is False
    assert options.view_as(SetupOptions).view_as(StandardOptions).streaming is False
    assert options.view_as(SetupOptions).setup_file == "here"
    assert options.view_as(TypeOptions).pipeline_type_check is True


def test_a_second_call_does_nothing(forgetful: None) -> None:
    beam_private.remember()
    places = (
        (PipelineOptions, "view_as"),
        (core, "get_function_args_defaults"),
        (userstate, "get_dofn_specs"),
        (statecache, "objsize"),
    )
    first = [getattr(*place) for place in places]
    beam_private.remember()
    assert all(getattr(*place) is function for place, function in zip(places, first))


@pytest.mark.slow
@pytest.mark.smoke
def test_what_is_put_together_and_computed_is_the_same(forgetful: None) -> None:
    def proto() -> Any:
        pipeline = beam.Pipeline(argv=["--runner=DirectRunner"])
        words = pipeline | beam.Create(["a b", "b"]) | beam.FlatMap(str.split)
        words | beam.combiners.Count.PerElement() | beam.ParDo(Inherited())
        components = pipeline.to_runner_api().components
        steps = {name: (dict(part.inputs), dict(part.outputs)) for name, part in components.transforms.items()}
        return steps, {name: coder.spec.urn for name, coder in components.coders.items()}

    before = proto()
    beam_private.remember()
    assert proto() == before
