"""Runs a script as `python script.py` would: arguments, imports, seeds, tracebacks, exit code."""
