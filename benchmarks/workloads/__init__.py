"""Training scripts that know nothing of unvanish and end by saying what their loop took."""
