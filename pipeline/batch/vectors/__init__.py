"""`recommender vectors`: both towers' vectors of a version, for a vector database, and whether they suffice."""
