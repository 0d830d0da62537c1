"""Isolates a trial's writes from the user's files: mirror of folders, overlay of edited sources, redirected paths,
a barrier for what goes past these, and muted trackers."""
