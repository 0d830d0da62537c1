"""Changes to a live network that treat findings: planned, applied in place, undone bit for bit. They never train it."""

from unvanish.remedies.apply import apply
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.registry import Catalogue, built_in_catalogue, names, remedy

__all__ = ["Catalogue", "Context", "Operation", "Remedy", "apply", "built_in_catalogue", "names", "remedy"]
