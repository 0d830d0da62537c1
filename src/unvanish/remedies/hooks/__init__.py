"""Optimizer step hooks and backward hooks: clipping, loss scaling, scaled learning rates, withheld gradients."""
