"""The network's operations and the order in which they run, from torch.fx or from an example batch."""
