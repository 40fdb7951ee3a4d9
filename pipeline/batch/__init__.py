"""`recommender batch`: the best items of many users at once, by Beam, from a pushed version and no model server."""
