"""What a training leaves beside its model, for the executor and for the page of a run."""

TRAINING_REPORT = "training.json"
"""In `model_run_dir`, from `run_fn`: a JSON object whose `summary` the terminal shows."""
