"""Mean-field theory of deep networks: predicts how signals and gradients grow or shrink before the first training step.

Pure functions of float64 over numpy and scipy; nothing here imports torch.
"""
