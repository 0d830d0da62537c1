"""Edits of a training step: the optimizer, its learning rate, and what happens to gradients before it steps."""
