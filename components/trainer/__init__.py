"""The Trainer: TFX's own, with the catalogue as one more input."""
