"""Remedies that insert or exchange normalisation layers."""
