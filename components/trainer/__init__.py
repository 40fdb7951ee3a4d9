"""The Trainer: TFX's own, with the catalogue and a training that was judged as further inputs."""
