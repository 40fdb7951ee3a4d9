"""Moves a label to the version that was pushed, if that is approved."""
