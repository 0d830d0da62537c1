"""Remedies that draw initial weights and biases."""
