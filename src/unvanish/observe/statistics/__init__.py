"""What is computed of tensors on a sampled step: activations, gradients, parameters, updates, attention."""
