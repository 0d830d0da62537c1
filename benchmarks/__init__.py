"""Benchmarks of cost, diagnosis and cures, run by `make bench`. Costs are ratios of measurements in the same run."""
