"""What may be recorded of a run, as plain data, and the file that stores it.

It never imports torch, so that a run can be opened years later on a machine without it.
"""
