"""Makes an artifact of a schema that the settings give."""
