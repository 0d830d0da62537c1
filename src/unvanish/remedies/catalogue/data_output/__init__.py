"""Remedies that change the network's input scaling or its output activation."""
