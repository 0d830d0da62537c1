"""Runs compiled models eagerly on sampled steps, since hooks set after compilation never fire. It compiles nothing itself."""

from __future__ import annotations

import sys
import warnings
from typing import Any, cast

# torch warns that hooks fire once more for the wrapper of a compiled module: ours know that, and the script did not set them.
WARNING = r"Using `torch\.compile\(module\)` when there are global hooks on modules"


class EagerStance:
    """Owner of torch.compile's stance during sampled steps."""

    def __init__(self) -> None:
        self._stance: Any = None
        self._filter: Any = None

    def enter(self) -> None:
        """Compiled code runs eagerly from here on. The compiler is not loaded for that, since it takes seconds."""
        if self._filter is None:
            warnings.filterwarnings("ignore", WARNING, UserWarning)
            self._filter = self._filters()[0]
        if self._stance is None and "torch._dynamo.eval_frame" in sys.modules:
            import torch

            self._stance = torch.compiler.set_stance("force_eager")
            self._stance.__enter__()

    def leave(self) -> None:
        """Compiled code runs compiled again."""
        if self._filter in self._filters():  # not where the script has set all filters anew since
            self._filters().remove(self._filter)
        self._filter = None
        if self._stance is not None:
            self._stance.__exit__(None, None, None)
            self._stance = None

    def _filters(self) -> list[Any]:
        return cast(list[Any], warnings.filters)
