"""The config: the file's model, its parts, and the reference of its keys."""

from pipeline.config.config import BeamConfig, Config, load_config, merged

__all__ = ["BeamConfig", "Config", "load_config", "merged"]
