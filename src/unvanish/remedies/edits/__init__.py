"""Changes to modules and to the calls in their `forward`: exchange, insertion, rewriting of methods."""
