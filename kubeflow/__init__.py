"""The room of what runs the pipeline on Kubeflow Pipelines. Nothing is in it yet."""
