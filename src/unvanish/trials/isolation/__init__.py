"""Keeps a trial's writes apart from the user's files: mirror of folders, overlay of edited sources, write detection."""
