"""The custom TFX components, one folder each: spec, thin executor, pure functions, settings."""

from components.kernels import choose

choose()  # first: what NumPy and SciPy read when they are imported
