"""`recommender init`: a config from a look at files."""
