"""What is observed at a network's output: the loss that judges it, the targets, and how much was learned."""
