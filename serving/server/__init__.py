"""The embedded model server: TensorFlow Serving's gRPC and REST API from Python, for machines without the real one."""
