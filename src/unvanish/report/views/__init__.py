"""Builds the rows and values that terminal, page and figures show of a run."""
