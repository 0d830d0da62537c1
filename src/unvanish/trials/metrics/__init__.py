"""The metrics that a script reports: printed text, experiment trackers, and what their names mean."""
