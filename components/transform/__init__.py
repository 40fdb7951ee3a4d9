"""A Transform's graph and examples, grown by events that came since."""
