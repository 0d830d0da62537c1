"""Measurements at a network's output: the criteria of the loss, targets, metrics, and a nearest-neighbour baseline."""
