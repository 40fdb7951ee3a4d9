"""What a training leaves beside its model, for the executor, for the page of a run, and for the training that ships."""

TRAINING_REPORT = "training.json"
"""In `model_run_dir`, from `run_fn`: a JSON object whose `summary` the terminal shows."""

WEIGHTS, LINEAR = "weights.npz", "linear.npz"
"""There too, where a later training may go on from the model: its weights, by number, and the linear part."""

RANKER = "ranker.npz"
"""There too, where there is a second stage: its weights, by number."""
