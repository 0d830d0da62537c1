"""Texts that all reports share: formats of numbers and places, plain descriptions of findings, and the glossary."""
