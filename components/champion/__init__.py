"""Finds the model that a candidate has to hold up against: what serves now."""
