"""Runs compiled models eagerly on sampled steps, since hooks set after compilation never fire. It compiles nothing itself."""

from __future__ import annotations

import sys
from typing import Any


class EagerStance:
    """Owner of torch.compile's stance during sampled steps."""

    def __init__(self) -> None:
        self._stance: Any = None

    def enter(self) -> None:
        """Compiled code runs eagerly from here on. Does nothing until the compiler is loaded: that takes seconds."""
        if self._stance is None and "torch._dynamo.eval_frame" in sys.modules:
            import torch

            self._stance = torch.compiler.set_stance("force_eager")
            self._stance.__enter__()

    def leave(self) -> None:
        """Compiled code runs compiled again."""
        if self._stance is not None:
            self._stance.__exit__(None, None, None)
            self._stance = None
