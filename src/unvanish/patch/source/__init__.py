"""Reads the user's source files: parsed calls, names, statements, where a value comes from."""
