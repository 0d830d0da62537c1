"""Runs compiled models eagerly on sampled steps, since hooks set after compilation never fire."""

from __future__ import annotations

import warnings
from typing import Any, cast

from unvanish.network.compiled_code import GLOBAL_HOOKS_WARNING, is_compiler_loaded


class EagerStance:
    """Sets the stance of torch.compile during sampled steps."""

    def __init__(self) -> None:
        self._stance: Any = None
        self._filter: Any = None

    def enter(self) -> None:
        """Has compiled code run eagerly from here on. Does not import the compiler, which would take seconds."""
        if self._filter is None:
            warnings.filterwarnings("ignore", GLOBAL_HOOKS_WARNING, UserWarning)
            self._filter = self._filters()[0]
        if self._stance is None and is_compiler_loaded():
            import torch

            self._stance = torch.compiler.set_stance("force_eager")
            self._stance.__enter__()

    def leave(self) -> None:
        """Has compiled code run compiled again."""
        if self._filter in self._filters():  # unless the script has reset all filters since
            self._filters().remove(self._filter)
        self._filter = None
        if self._stance is not None:
            self._stance.__exit__(None, None, None)
            self._stance = None

    def _filters(self) -> list[Any]:
        return cast(list[Any], warnings.filters)
