"""`recommender forget`: users go from what serves, from what was made of their events, and from what comes."""
