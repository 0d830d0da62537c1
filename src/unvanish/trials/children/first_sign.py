"""Waits for the first sign that a process may train: a module or an optimizer is built, or backward called.

A worker that only loads data gives none, and so pays for nothing of ours but three wrapped callables."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, final

from unvanish.monkey_patch import CallablePatch


@final
class FirstSign:
    """The wait, from its construction to the first sign or `cancel`; `on_sign` is called once, before what gives the sign happens.

    torch has been imported.
    """

    def __init__(self, on_sign: Callable[[], None]) -> None:
        torch: Any = sys.modules["torch"]
        self._on_sign = on_sign
        owners = ((torch.nn.Module, "__init__"), (torch.optim.Optimizer, "__init__"), (torch.autograd, "backward"))
        self._patches = [CallablePatch(owner, name, self._wrapper(owner, name)) for owner, name in owners]
        for patch in self._patches:
            patch.install()

    def _wrapper(self, owner: Any, name: str) -> Callable[..., Any]:
        def call_after_sign(_: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            self.cancel()
            self._on_sign()
            return getattr(owner, name)(*args, **kwargs)  # which is watched from now on

        return call_after_sign

    def cancel(self) -> None:
        """Ends the wait."""
        for patch in reversed(self._patches):
            patch.remove()
