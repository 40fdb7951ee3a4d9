"""What makes an Example of the interactions one, beside the names that the config gives."""

PLACE = "#place"
"""Feature of the event's place among those of its user at the same time, from 0: the order of the log, if that counts
(`history.ties: log_order`), else 0 for all."""
