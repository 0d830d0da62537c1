"""Indices and names of the user's modules, parameters and optimizers, and the source lines that built them."""
