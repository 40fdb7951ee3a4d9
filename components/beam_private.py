"""What is changed of Beam beneath its public API: answers that it works out again and again are remembered.

As a pipeline is put together Beam asks several times for each step which arguments the step's methods have, by
`inspect`, which state and timers these name, and what its options say, by a parser that it builds for the question.
None of them changes. As it runs Beam weighs each side input, and for each collects the namespaces of all modules there
are, thousands with TensorFlow, to leave them out; they can be reached through functions and modules only, which it
leaves out anyway. TensorFlow Transform makes hundreds of steps of a preprocessing function, so a run on a small data
set spends much of its time there; `python -m benchmarks.beam_graph` says how much.

`tests/components/test_beam_private.py` tells of a release of Beam that does it otherwise.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import statecache
from apache_beam.transforms import core, userstate

_Arguments = tuple[list[str], list[Any]]
_Specs = tuple[set[Any], set[Any]]


def remember() -> None:
    """Lets Beam remember, in this process and from now on; a second call does nothing."""
    if not hasattr(PipelineOptions.view_as, "__wrapped__"):
        PipelineOptions.view_as = _remember_views(PipelineOptions.view_as)
        core.get_function_args_defaults = _remember_arguments(core.get_function_args_defaults)
        userstate.get_dofn_specs = _remember_specs(userstate.get_dofn_specs)
        statecache.objsize = types.SimpleNamespace(
            get_deep_size=functools.partial(statecache.objsize.get_deep_size, exclude_modules_globals=False)
        )


def _remember_views(view_as: Callable[..., Any]) -> Callable[..., Any]:
    """A view shares its values with the options that it is a view of, so one for each class is enough."""
    views: weakref.WeakKeyDictionary[PipelineOptions, dict[type, Any]] = weakref.WeakKeyDictionary()

    @functools.wraps(view_as)
    def remembered(self: PipelineOptions, cls: type) -> Any:
        mine = views.setdefault(self, {})
        if cls not in mine:
            mine[cls] = view_as(self, cls)
        return mine[cls]

    return remembered


def _remember_arguments(get: Callable[[Any], _Arguments]) -> Callable[[Any], _Arguments]:
    """A bound method's arguments are those of its function, which all instances of its class share."""
    arguments: weakref.WeakKeyDictionary[Any, _Arguments] = weakref.WeakKeyDictionary()

    @functools.wraps(get)
    def remembered(f: Any) -> _Arguments:
        if not isinstance(f, types.MethodType) or not isinstance(f.__func__, types.FunctionType):
            return get(f)
        if f.__func__ not in arguments:
            arguments[f.__func__] = get(f)
        names, defaults = arguments[f.__func__]
        return list(names), list(defaults)

    return remembered


def _remember_specs(get: Callable[[Any], _Specs]) -> Callable[[Any], _Specs]:
    """State and timers are named by the defaults of methods, which are those of the class but for what an instance has
    under the name of one, as those have that Beam makes of functions."""
    specs: weakref.WeakKeyDictionary[type, dict[frozenset[str], _Specs]] = weakref.WeakKeyDictionary()

    @functools.wraps(get)
    def remembered(dofn: Any) -> _Specs:
        own = getattr(dofn, "__dict__", {})
        if any(isinstance(value, types.MethodType) for value in own.values()):
            return get(dofn)
        mine = specs.setdefault(type(dofn), {})
        hidden = frozenset(name for name in own if hasattr(type(dofn), name))
        if hidden not in mine:
            mine[hidden] = get(dofn)
        states, timers = mine[hidden]
        return set(states), set(timers)

    return remembered
