"""Three nodes in a row, of function components: a text, twice that, and twice that again."""

import contextlib
import signal
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.errors import InputError


@component
def First(out: OutputArtifact[standard_artifacts.String], text: Parameter[str]) -> None:
    if text == "wrong":
        raise InputError("first.csv: row 3 is wrong; mend it")
    if text == "bug":
        raise KeyError("a bug")
    if text == "swallowed":  # as a callback of Beam's does
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    Path(out.uri).write_text(text)
    out.set_string_custom_property("summary", f"text {text}")


@component
def Second(source: InputArtifact[standard_artifacts.String], out: OutputArtifact[standard_artifacts.String]) -> None:
    Path(out.uri).write_text(Path(source.uri).read_text() * 2)


@component
def Third(source: InputArtifact[standard_artifacts.String], out: OutputArtifact[standard_artifacts.String]) -> None:
    Path(out.uri).write_text(Path(source.uri).read_text() * 2)
