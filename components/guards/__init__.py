"""Holds today's data against those of the last pushed version, before anything is trained on them."""
