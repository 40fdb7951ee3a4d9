"""InteractionGen: a log of interactions to point-in-time training examples and evaluation queries."""
