"""Changes to a live network that treat findings: planned, applied in place, undone bit for bit. They never train it."""

from unvanish.remedies.apply import apply
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.registry import Shelf, names, own_shelf, remedy

__all__ = ["Context", "Operation", "Remedy", "Shelf", "apply", "names", "own_shelf", "remedy"]
