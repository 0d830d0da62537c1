"""Remedies that change the optimizer, its learning rate, or the gradients it gets."""
