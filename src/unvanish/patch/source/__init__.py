"""Parses the user's source files: calls, names, statements, and where a value comes from."""
