"""Sentence encoders, which make vectors of texts: packages that hold a small model's weights, so that nothing is
downloaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from components.errors import InputError

Name = Literal["wordllama"]

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts [N] to vectors [N, E] float32 of length 1; of a text without words zeros."""

WIDTHS: dict[Name, int] = {"wordllama": 256}
"""E of each."""

_PACKAGES = ("wordllama", "tokenizers", "safetensors")
NO_ENCODER = (
    "the encoder 'wordllama' of text features needs a package that is not installed: pip install "
    "'recommender-pipeline[text]', or leave it out of data.catalogue.features"
)


def versions(names: Iterable[Name]) -> str:
    """Returns the encoders with the versions that are installed, as "name version" words; two of which this differs may
    make other vectors.

    Raises:
        InputError: One is not installed.
    """
    found = sorted(set(names))
    for name in found:
        check(name)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found)


def check(name: Name) -> None:
    """Raises InputError, which says how to install it, unless the encoder can be loaded."""
    assert name == "wordllama"  # all that there are
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{NO_ENCODER} ({package})")


def load(name: Name) -> Encode:
    """Returns an encoder.

    WordLlama (github.com/dleemiller/WordLlama) has a vector for each token of a large language model, trained so that
    the mean of a text's vectors says what the text is about; the weights are the same in all its versions so far.

    Raises:
        InputError: It is not installed.
    """
    check(name)
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    # Read from the package's files. Its own loader doesn't find the tokenizer that it comes with (0.3 looks in the home
    # folder, 0.4 in a folder of another name), downloads it instead, and sets up logging when it is imported.
    spec = importlib.util.find_spec(name)
    assert spec is not None  # checked
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        table = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].astype(np.float32)
    except Exception as error:  # tokenizers raises nothing narrower
        raise InputError(f"the encoder {name!r}: {folder} has no model that can be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), table.shape[1]), np.float32)
        for row, text in enumerate(texts):
            # One by one: a batch would start threads, which a later fork of this process warns about.
            tokens = tokenizer.encode(text, add_special_tokens=False).ids
            if tokens:
                vectors[row] = table[tokens].mean(axis=0)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))

    return encode
