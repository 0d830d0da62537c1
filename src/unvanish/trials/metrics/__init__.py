"""Reads the metrics of a trial: from names, printed text and calls of experiment trackers."""
