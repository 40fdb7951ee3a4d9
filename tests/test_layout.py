"""The tests of a module stand where one looks for them: those of `X/y.py` in `tests/X/test_y.py`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "components", "serving", "kubeflow")

_SPECIFICATION = (
    "a table of inputs, outputs and parameters; tests/components/test_specs.py holds all nodes' to one table"
)
_CONSTANTS = "names of files and features alone"
EXCEPTIONS = {
    "components/all_events/component.py": _SPECIFICATION,
    "components/catalogue_gen/component.py": _SPECIFICATION,
    "components/champion/component.py": _SPECIFICATION,
    "components/example_validator/component.py": _SPECIFICATION,
    "components/guards/component.py": _SPECIFICATION,
    "components/indexer/component.py": _SPECIFICATION,
    "components/interaction_gen/component.py": _SPECIFICATION,
    "components/servable_validator/component.py": _SPECIFICATION,
    "components/trainer/component.py": _SPECIFICATION,
    "components/transform/component.py": _SPECIFICATION,
    "components/breaches.py": "an error, which tests/components/guards/test_executor.py sees raised",
    "components/data_profile.py": "names of files and kinds of artifacts alone",
    "components/examples/catalogue.py": _CONSTANTS,
    "components/examples/interactions.py": _CONSTANTS,
    "components/trainer/report.py": _CONSTANTS,
    "serving/promotion/errors.py": "classes without a body, which tests/serving/promotion/test_promoter.py sees raised",
    "serving/protos/models_config_pb2.py": "generated; tests/serving/protos/test_protos.py holds it to its original",
    "serving/protos/server_config_pb2.py": "generated; tests/serving/server/test_settings.py holds it to its original",
    "serving/protos/serving_pb2.py": "generated; tests/serving/protos/test_protos.py holds it to its original",
    "serving/server/__main__.py": "an entry point, which tests/serving/server/test_process.py starts",
}
"""Modules without a file of tests of their own, and why."""


def where_tests_stand(module: str) -> str:
    """The file of a module's tests; those of a package's own code stand in its folder, under its name."""
    path = Path(module)
    name = path.parent.name if path.name == "__init__.py" else path.stem
    return str(Path("tests", path.parent, f"test_{name}.py"))


def has_code(file: Path) -> bool:
    """Whether there is anything to test: most packages are a docstring and names of their modules."""
    if file.name != "__init__.py":
        return True
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for part in body)


MODULES = [
    str(file.relative_to(ROOT)) for room in ROOMS for file in sorted((ROOT / room).rglob("*.py")) if has_code(file)
]


def test_a_module_has_its_tests_under_its_name() -> None:
    without = {
        module: f"has no {where}; move its tests there, or write some"
        for module in MODULES
        if module not in EXCEPTIONS and not (ROOT / (where := where_tests_stand(module))).is_file()
    }
    assert without == {}


@pytest.mark.parametrize(("module", "reason"), EXCEPTIONS.items())
def test_an_exception_holds(module: str, reason: str) -> None:
    assert module in MODULES, "the module is gone: so must its exception be"
    assert not (ROOT / where_tests_stand(module)).exists(), "it has tests under its name now: it is no exception"
    for elsewhere in re.findall(r"tests/\S+\.py", reason):
        assert (ROOT / elsewhere).is_file(), f"its tests are not in {elsewhere}"
