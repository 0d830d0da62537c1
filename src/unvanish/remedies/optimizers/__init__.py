"""Changes to optimizers: class, settings, parameters, the learning-rate search, and Muon."""
