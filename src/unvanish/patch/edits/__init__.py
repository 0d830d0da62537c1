"""Edits of the user's source, one kind of edit a file: constructors, calls, optimizers, numbers."""
