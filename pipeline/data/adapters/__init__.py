"""Commands that bring data of an odd form into the tables that the pipeline reads, one a recipe."""
