"""What of our own code a module runs, as a digest: with it TFX's cache answers by the code too.

TFX's key of a cached execution has a node's inputs and exec properties, and the name of its executor, but not the
executor's code, nor that of a function that is given by its import path. So `stamp` makes the digest of all that a
node may run one more exec property of it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_component import BaseComponent

PROPERTY = "code"
"""The exec property that holds a node's digest."""

_ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"(?:pipeline|components|serving|kubeflow)(?:\.\w+)*")


def stamp(nodes: Iterable[BaseComponent]) -> None:
    """Gives each node that runs code of ours the exec property `code`.

    It is the digest of the modules of the node's executor and driver, and of those that an exec property names
    (`run_fn`, `preprocessing_fn`). No specification declares it, for stock components have it as well.

    Args:
        nodes: The nodes of a pipeline.
    """
    for node in nodes:
        names = modules_of(node)
        if names:
            node.exec_properties[PROPERTY] = digest(*names)


def modules_of(node: BaseComponent) -> list[str]:
    """Returns the names of our modules that TFX loads for a node."""
    named = [node.executor_spec.executor_class.__module__, node.driver_class.__module__]
    named += [value.rpartition(".")[0] for value in node.exec_properties.values() if isinstance(value, str)]
    return sorted({name for name in named if _NAME.fullmatch(name)})


def digest(*modules: str, root: Path | None = None) -> str:
    """Returns the digest of modules and of all modules of ours that these import, and so on, as they lie on disk.

    Imports are read, not run: those at the top of a module, those inside of functions, and modules that a string names
    by their whole name, such as of a process to start. What only type checkers see is left out.

    Args:
        *modules: Names of modules, or of functions or classes in modules.
        root: The folder that holds our packages; by default the one that this module is in.

    Returns:
        64 hexadecimal digits.

    Raises:
        ModuleNotFoundError: One of `modules` is none of ours.
    """
    root = root or _ROOT
    found: dict[Path, bytes] = {}
    todo = []
    for module in modules:
        files = _files(module, root)
        if not files:
            raise ModuleNotFoundError(f"{module}: no such module in {root}")
        todo += files
    while todo:
        file = todo.pop()
        if file not in found:
            found[file] = file.read_bytes()
            imported, named = _names(found[file])
            todo += (other for name in imported for other in _files(name, root))
            todo += (other for name in named for other in _files(name, root, started=True))
    whole = hashlib.sha256()
    for file, content in sorted(found.items()):
        whole.update(f"{file.relative_to(root)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


def _files(name: str, root: Path, started: bool = False) -> list[Path]:
    """The files that are run when `name`, or the module that it is defined in, is imported or started; none if that
    is not ours."""
    if not _NAME.fullmatch(name):
        return []
    files: list[Path] = []
    folder = root
    for part in name.split("."):
        package, module = folder / part / "__init__.py", folder / f"{part}.py"
        if not package.is_file():
            return [*files, module] if module.is_file() else files
        files.append(package)
        folder = package.parent
    main = folder / "__main__.py"
    return [*files, main] if started and main.is_file() else files


@functools.cache
def _names(source: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """What a module imports, and what of its strings may be the name of a module."""
    imported, strings = set(), set()
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            strings.add(node.value)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)
    return frozenset(imported), frozenset(strings)
