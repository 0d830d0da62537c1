"""Changes to a live network that treat findings: planned, applied in place, undone bit for bit. They never train it."""

from unvanish.remedies.apply import apply
from unvanish.remedies.contract import Context, Operation, Remedy
from unvanish.remedies.shelf import names, remedy

__all__ = ["Context", "Operation", "Remedy", "apply", "names", "remedy"]
