"""Refuses a torch that is too old to be watched, by its version; imports nothing of it."""

from __future__ import annotations

import re
import sys

from unvanish.errors import ObservationError

OLDEST_TORCH = (2, 6)


def require_supported_torch() -> None:
    """Raises ObservationError where the torch that the program has imported is older than `OLDEST_TORCH`."""
    version = str(getattr(sys.modules.get("torch"), "__version__", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise ObservationError(f"it uses torch {version}, and unvanish needs {oldest} or newer; update torch")
