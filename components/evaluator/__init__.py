"""Judges a servable: metrics by slice beside the baselines' and the champion's, thresholds, the blessing."""
