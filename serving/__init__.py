"""Serving: the client (`serving.client`, no TensorFlow) and the embedded model server (`serving.server`)."""
