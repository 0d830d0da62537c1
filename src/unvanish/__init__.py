"""Tells you why a deep network has stopped learning, applies the cheapest change that cures it, and proves the cure."""
