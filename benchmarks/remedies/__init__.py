"""Races of every remedy against the untreated network on small data sets: one that it wins, and one in which it does not help."""
