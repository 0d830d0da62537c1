"""Every picture of a report as a plotly figure with title, caption, text alternative and table."""
