"""How CatalogueGen's examples are found and told apart."""

CATALOGUE_SPLIT = "catalogue"
"""The only split."""
LISTED = "#listed"
"""Feature of the items that the catalogue's files list: 1; the others are only in the log."""
