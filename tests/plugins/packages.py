"""What a test that installs a package of somebody else asks for."""

from __future__ import annotations

from collections.abc import Callable

# Entry point group, package, entry point value, then the source of its module in parts.
Install = Callable[..., None]
