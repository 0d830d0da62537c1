"""Has a call be one of another function with the same arguments. It chooses no call."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib import import_module

from unvanish.remedies.edits.method_rewriting import Definition, Rewriting


@dataclass(frozen=True, slots=True)
class Renamed(Rewriting):
    """A function by its address, such as "torch.nn.functional:softmax", that is called with the arguments that stand there."""

    address: str

    @property
    def spelled(self) -> str:
        """The call, without settings: those stay what they were."""
        return f"{self.address.partition(':')[2]}(x)"

    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, receiver: bool) -> object:
        """Exchanges the function; the receiver of a method becomes the first argument."""
        del definition
        if receiver and isinstance(call.func, ast.Attribute):
            call.args.insert(0, call.func.value)
        call.func = ast.copy_location(ast.Name(name, ast.Load()), call.func)
        module, _, function = self.address.partition(":")
        return getattr(import_module(module), function)
