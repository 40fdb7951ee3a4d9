"""Which kernels OpenBLAS takes for the processor, where it is older than the processor.

SciPy 1.12, the newest that TFX 1.16 takes, brings an OpenBLAS of 2022. On a processor that it doesn't know, such as
Intel's of 2023 (Emerald Rapids), it takes kernels of 2004 (Prescott): these are several times slower, and with one
thread their inverse of a triangular matrix (`trtri`) crashes the process. So it is told which to take, by what the
processor can do. It reads that from the environment, once, when NumPy and SciPy are imported.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from collections.abc import MutableMapping
from pathlib import Path

_VARIABLE = "OPENBLAS_CORETYPE"
_KNOWS = (1, 13)
"""The first SciPy whose OpenBLAS goes by what an unknown processor can do."""
_KERNELS = (
    ("GenuineIntel", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "SkylakeX"),
    ("GenuineIntel", {"avx2", "fma"}, "Haswell"),
    ("AuthenticAMD", {"avx2", "fma"}, "Zen"),
)
"""The best kernels by maker and what a processor must have, best first."""
_HEAD = 1 << 14


def choose(environment: MutableMapping[str, str] = os.environ, processors: Path = Path("/proc/cpuinfo")) -> None:
    """Names the kernels in the environment, unless it names some.

    Args:
        environment: The variables.
        processors: What Linux tells of the processors; on other systems, which have no such file, nothing is named.
    """
    if _VARIABLE in environment:
        return
    with contextlib.suppress(OSError, importlib.metadata.PackageNotFoundError):
        if tuple(map(int, importlib.metadata.version("scipy").split(".")[:2])) < _KNOWS:
            with processors.open(errors="replace") as file:
                found = best(file.read(_HEAD))
            if found:
                environment[_VARIABLE] = found


def best(about: str) -> str:
    """Returns the best kernels for the first processor of `/proc/cpuinfo`; "" where OpenBLAS finds its own.

    >>> best("vendor_id : GenuineIntel\\nflags : sse avx2 fma\\n")
    'Haswell'
    """
    told = dict(re.findall(r"^(\w+)\s*: (.*)$", about.partition("\n\n")[0], re.MULTILINE))
    can = set(told.get("flags", "").split())
    return next((kernels for maker, has, kernels in _KERNELS if told.get("vendor_id") == maker and has <= can), "")
