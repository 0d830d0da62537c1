"""Random weights: scales, orthogonal matrices, recurrent layers, and which weights an initialisation draws."""
