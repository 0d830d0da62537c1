"""Isolates a trial's writes from the user's files: mirror of folders, overlay of edited sources, tracking of writes."""
