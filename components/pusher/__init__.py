"""Publishes a blessed model as the newest version under the serving base path."""
