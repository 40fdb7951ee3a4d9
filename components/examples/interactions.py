"""What makes an Example of the interactions one, beside the names that the config gives."""

PLACE = "#place"
"""Feature of the event's place among those of its user at the same time, from 0: the order of the log, if that counts
(`history.ties: log_order`), else 0 for all."""

NEGATIVE_SPLIT = "negative"
"""The split of the training part's negative events, where the log has any."""
LATER_NEGATIVE_SPLIT = "later_negative"
"""The split of the evaluation part's negative events, likewise. Nobody is judged by them, but who rejected something
then is not to be shown it."""
PAST = "past"
"""The split of events of before, where the training events are only those that came since; linked, and of no node of
TFX's own."""
PAST_OF = {"train": PAST, NEGATIVE_SPLIT: f"{PAST}_negative"}
"""Where the events of a split go when others come after them."""
AGAIN = "again-"
"""Stands before the name of a file with events of before that are learned once more."""
KEPT_OF = {"train": "kept", NEGATIVE_SPLIT: "kept_negative"}
"""Where its new events are kept for that, those of the evaluation too, as columns: all are read each night, and
Examples are parsed as a whole, whatever is wanted of them. Raw ones have short histories."""
FOR_GOOD = "#for_good"
"""Feature of a negative event, 1 where no later event takes it back, else 0."""

EXCLUDED = "#excluded"
"""Feature of a query: the items of the user's earlier events of the types that answers leave out, newest first."""
REJECTED = "#rejected"
"""Feature of a query: the items that the user had rejected by then, newest first."""
