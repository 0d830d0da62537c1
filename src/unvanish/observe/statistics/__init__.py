"""Statistics of a sampled step: of activations, gradients, parameters, updates and attention, and their packing into a reading."""
