"""What is shown of a run, as rows and plain values that terminal, page and figures share."""
