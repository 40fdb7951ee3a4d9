"""The recipes of configs/ on synthetic logs of the same columns, types, sizes and skew as their notebooks' data."""
