"""The pipeline on Kubeflow Pipelines: compiled, submitted, and each node run in its container."""
