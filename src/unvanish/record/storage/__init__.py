"""The file of a run: its SQLite journal, its names, how records become JSON, and how older formats are read."""
