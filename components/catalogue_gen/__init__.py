"""CatalogueGen: the items that can be recommended, from a catalogue and the log."""
