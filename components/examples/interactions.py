"""What makes an Example of the interactions one, beside the names that the config gives."""

PLACE = "#place"
"""Feature of the event's place among those of its user at the same time, from 0: the order of the log, if that counts
(`history.ties: log_order`), else 0 for all."""

NEGATIVE_SPLIT = "negative"
"""The split of the training part's negative events, where the log has any."""
FOR_GOOD = "#for_good"
"""Feature of a negative event, 1 where no later event takes it back, else 0."""

EXCLUDED = "#excluded"
"""Feature of a query: the items of the user's earlier events of the types that answers leave out, newest first."""
REJECTED = "#rejected"
"""Feature of a query: the items that the user had rejected by then, newest first."""
