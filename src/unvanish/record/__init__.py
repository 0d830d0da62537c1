"""The ground floor: what may be written about a run, and the file that keeps it. It measures nothing, judges nothing, and
never imports torch, so that a run can be opened years later on a machine without it."""
