"""Training scripts without unvanish, each of which prints the wall time, CPU time and peak memory of its loop."""
