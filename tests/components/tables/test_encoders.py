"""Encoders of texts: on a model of two words, on the real one, and without the package."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from components.tables import encoders
from components.tables.encoders import WIDTHS, check, load, versions

FIND = importlib.util.find_spec
needs_extra = pytest.mark.skipif(
    any(FIND(package) is None for package in ("wordllama", "tokenizers", "safetensors")),
    reason="the extra text is not installed",
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `wordllama` whose model knows two words."""
    from safetensors.numpy import save_file

    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "weights").mkdir()
    vocabulary = {"<unk>": 0, "red": 1, "shoe": 2}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (tmp_path / "tokenizers" / "l2_supercat_tokenizer_config.json").write_text(json.dumps(tokenizer))
    table = np.array([[0, 0], [3, 0], [0, 4]], np.float16)
    save_file({"embedding.weight": table}, tmp_path / "weights" / "l2_supercat_256.safetensors")
    spec = importlib.machinery.ModuleSpec("wordllama", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "wordllama" else FIND(name))
    return tmp_path


@needs_extra
@pytest.mark.usefixtures("tiny")
def test_a_text_is_the_mean_of_its_words_at_length_one() -> None:
    found = load("wordllama")(["red", "red shoe", "shoe shoe shoe red", "", "   ", "unheard"])
    # Means: (3, 0); (1.5, 2), of length 2.5; (0.75, 3), of length 3.0923; and nothing.
    expected = [[1, 0], [0.6, 0.8], [0.75 / 3.0923, 3 / 3.0923], [0, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dtype == np.float32
    assert load("wordllama")([]).shape == (0, 2)


@needs_extra
def test_a_package_without_its_model_is_told(tiny: Path) -> None:
    (tiny / "weights" / "l2_supercat_256.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"encoder 'wordllama': .* has no model that can be read"):
        load("wordllama")


@needs_extra
@pytest.mark.smoke
def test_the_real_one_knows_what_texts_are_about() -> None:
    texts = ["running shoes for women", "ladies' sneakers", "garden hose, 20 m", "Gartenschlauch ü 你好", ""]
    vectors = load("wordllama")(texts)
    assert vectors.shape == (5, WIDTHS["wordllama"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0], rtol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.4 > 0.2 > alike[0, 2]
    # The same on both tracks, whose versions of the package differ.
    np.testing.assert_allclose(vectors[0, :4], [0.02110754, -0.13942477, 0.00116679, 0.07509898], rtol=1e-4)
    assert versions(["wordllama", "wordllama"]) == f"wordllama {importlib.metadata.version('wordllama')}"


def test_nothing_is_asked_of_packages_without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert versions([]) == ""


@pytest.mark.parametrize("missing", ["wordllama", "tokenizers", "safetensors"])
def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None if name == missing else object())
    for asked in (check, load, lambda name: versions([name])):
        with pytest.raises(InputError, match=rf"pip install 'recommender-pipeline\[text\]'.*\({missing}\)"):
            asked("wordllama")
