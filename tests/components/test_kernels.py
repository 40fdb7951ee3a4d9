"""Which kernels NumPy and SciPy are told to take."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from components.kernels import best, choose

_AVX512 = "avx avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl"


def _cpuinfo(maker: str, flags: str) -> str:
    one = (
        f"processor\t: 0\nvendor_id\t: {maker}\nmodel\t\t: 207\nmodel name\t: A processor\nflags\t\t: fpu sse {flags}\n"
    )
    return f"{one}bugs\t\t:\n\n{one.replace(flags, '')}\n"


@pytest.fixture
def _old_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.12.0")


@pytest.mark.parametrize(
    ("maker", "flags", "kernels"),
    [
        pytest.param("GenuineIntel", _AVX512, "SkylakeX", id="a server of Intel's"),
        pytest.param("GenuineIntel", "avx avx2 fma", "Haswell", id="a laptop of Intel's"),
        pytest.param("GenuineIntel", "avx avx2 fma avx512f", "Haswell", id="not all of AVX-512"),
        pytest.param("AuthenticAMD", _AVX512, "Zen", id="AMD"),
        pytest.param("GenuineIntel", "avx", "", id="an old one"),
        pytest.param("GenuineVirtual", _AVX512, "", id="unknown maker"),
    ],
)
def test_the_best_that_the_first_processor_can(maker: str, flags: str, kernels: str) -> None:
    assert best(_cpuinfo(maker, flags)) == kernels


def test_what_tells_nothing_names_none() -> None:
    assert best("") == best("Processor : AArch64\nFeatures : fp asimd\n") == ""


@pytest.mark.usefixtures("_old_scipy")
def test_they_are_named_in_the_environment_unless_somebody_did(tmp_path: Path) -> None:
    processors = tmp_path / "cpuinfo"
    processors.write_text(_cpuinfo("GenuineIntel", _AVX512))
    found: dict[str, str] = {}
    choose(found, processors)
    assert found == {"OPENBLAS_CORETYPE": "SkylakeX"}
    given = {"OPENBLAS_CORETYPE": "Haswell"}
    choose(given, processors)
    assert given == {"OPENBLAS_CORETYPE": "Haswell"}
    elsewhere: dict[str, str] = {}
    choose(elsewhere, tmp_path / "none")
    assert elsewhere == {}


@pytest.mark.parametrize("version", ["1.13.0", "1.18.1", "2.0.0rc1"])
def test_a_newer_scipy_finds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    processors = tmp_path / "cpuinfo"
    processors.write_text(_cpuinfo("GenuineIntel", _AVX512))
    found: dict[str, str] = {}
    choose(found, processors)
    assert found == {}


_INVERT = """
import {package}
import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

with threadpool_limits(1, user_api="blas"):
    for size in range(1, 300, 7):  # where a matrix lies decides whether wrong kernels crash
        for kind in (np.float32, np.float64):
            matrix = np.asfortranarray(np.eye(size, dtype=kind) * 2)
            (invert,) = linalg.get_lapack_funcs(("potri",), (matrix,))
            assert np.allclose(invert(matrix, lower=True, overwrite_c=True)[0], np.eye(size) / 4)
"""


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("package", ["components", "pipeline"])
def test_a_triangle_is_inverted_on_this_processor(package: str) -> None:
    """Without `components.kernels` this crashes where OpenBLAS doesn't know the processor."""
    run = [sys.executable, "-c", _INVERT.format(package=package)]
    done = subprocess.run(run, capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert (done.returncode, done.stderr) == (0, "")
