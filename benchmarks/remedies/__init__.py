"""Each remedy against the untouched network, on real data: once where it helps, and once where it is useless or harms."""
