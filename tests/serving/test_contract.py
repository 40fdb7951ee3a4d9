"""The contract's names, and the format of recommender.json."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving import contract

DOCS = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_docs_have_the_same_signatures():
    text = DOCS.read_text(encoding="utf-8").partition("## The serving contract")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    table = {name: cells for name, *cells in rows}

    def names(signature: str, side: int) -> set[str]:
        # Without remarks, what a context holds, and the values of `source`.
        cell = re.sub(r"\([^)]*\)|tf\.Example: .*|: `user`.*", "", table[signature][side])
        others = re.findall(r"those of `(\w+)`", cell)
        rules = contract.RULES if "the rules" in cell else ()
        own = set(re.findall(r"`(\w+)`", re.sub(r"those of `\w+`", "", cell)))
        return own.union(rules, *(names(other, side) for other in others))

    documented = {name: (names(name, 0), names(name, 1)) for name in table}
    assert documented == {name: tuple(map(set, signature)) for name, signature in contract.SIGNATURES.items()}


def test_a_model_has_the_signatures_that_it_was_made_with():
    plain = set(contract.signatures(in_context=False, of_users=False, for_tasks=False))
    assert {"recommend", "similar_items"} <= plain
    for name, added in {
        "in_context": contract.IN_CONTEXT,
        "of_users": contract.OF_USERS,
        "for_tasks": contract.FOR_TASKS,
    }.items():
        made = {"in_context": False, "of_users": False, "for_tasks": False, name: True}
        assert set(contract.signatures(**made)) - plain == set(added)
    assert contract.signatures(in_context=True, of_users=True, for_tasks=True) == list(contract.SIGNATURES)


def test_it_needs_the_standard_library_only():
    program = (
        "import sys; before = set(sys.modules); import serving.contract\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
        if sys.version_info >= (3, 10)
        else "import serving.contract; print(['serving'])"
    )
    ended = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=DOCS.parents[1], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "['serving']"


def write(version: Path, content: object) -> Path:
    path = version / contract.MANIFEST
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("manifest", [{"max_k": 5}, {"format": 1, "max_k": 5}], ids=["without a format", "today's"])
def test_formats_that_are_known(tmp_path, manifest):
    write(tmp_path, manifest)
    assert contract.read_manifest(tmp_path) == manifest


def test_a_newer_format(tmp_path):
    path = write(tmp_path, {"format": 2})
    with pytest.raises(contract.NewerFormat) as error:
        contract.read_manifest(tmp_path)
    assert str(error.value) == (
        f"{path}: format 2, made by a newer version of this project; this one reads formats up to 1: update it"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", [], None, {"format": "1"}, {"format": None}])
def test_what_is_no_manifest(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: damaged: ") as error:
        contract.read_manifest(tmp_path)
    assert not isinstance(error.value, contract.NewerFormat)


def test_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError):
        contract.read_manifest(tmp_path)
