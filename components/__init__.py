"""The custom TFX components, one folder each: spec, thin executor, pure functions, settings."""
