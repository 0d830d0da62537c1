"""Pictures of a training: gradient, activations, loss and updates over steps."""
