"""Serving: the client, which needs no TensorFlow, and the embedded model server."""
