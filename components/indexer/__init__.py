"""Indexer: towers, catalogue and stored histories to the servable SavedModel."""
