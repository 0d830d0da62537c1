"""Remedies that change the architecture: recurrent cells, residual gates, pre-normalisation."""
