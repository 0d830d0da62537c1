"""Benchmarks of cures: how often a script is cured, at what cost, beside random remedies, and how often a race is wrong."""
