"""Nights: data to what serves, by one command that is called again and again; and what there is to know of it."""
