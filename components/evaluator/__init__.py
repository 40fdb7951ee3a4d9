"""Judges a servable: ranking metrics by slice beside popularity's and the champion's, thresholds, the blessing."""
