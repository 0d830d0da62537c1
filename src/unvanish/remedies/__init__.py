"""Remedies: changes to a live network that treat findings, planned, applied in place, and undone bit for bit."""

from unvanish.remedies.apply import apply
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.registry import Catalogue, built_in_catalogue, get_remedy, remedy_names

__all__ = ["Catalogue", "Context", "Operation", "Remedy", "apply", "built_in_catalogue", "get_remedy", "remedy_names"]
