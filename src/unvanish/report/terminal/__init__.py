"""Runs, flows, races and demos rendered for the terminal with rich."""
