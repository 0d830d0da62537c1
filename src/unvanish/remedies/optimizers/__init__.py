"""Changes to optimizers: their class, settings and parameters, the learning-rate search, and the Muon optimizer."""
