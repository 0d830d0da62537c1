"""Builds every picture of a report: a plotly figure with title, caption, text alternative and table."""
