"""Small real programs in the manner of their frameworks, watched and fixed by the command line; `make compatibility` runs all."""
