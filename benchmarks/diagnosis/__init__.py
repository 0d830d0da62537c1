"""Benchmarks of the diagnosis on labelled trainings and their variations, beside other tools, and with one family left out."""
