"""Remedies that exchange activation functions."""
