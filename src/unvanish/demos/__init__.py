"""Demos: what the package claims, trained before your eyes on data that scikit-learn ships, one file a demo.

A demo lists trainings, has them run, and tells what came of them; every figure that it shows was measured in that run. Nothing
here judges a user's network, and nothing here draws.
"""
