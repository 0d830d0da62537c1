"""Rewrites a call to one of another function with the same arguments."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib import import_module

from unvanish.remedies.edits.method_rewriting import CallRewriting, Definition


@dataclass(frozen=True, slots=True)
class FunctionRename(CallRewriting):
    """Replaces the function of a call and keeps its arguments.

    Arguments:
        address: the function as "module:name", such as "torch.nn.functional:softmax".
    """

    address: str

    @property
    def replacement_text(self) -> str:
        """The call, without its other arguments, which stay as they are."""
        return f"{self.address.partition(':')[2]}(x)"

    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, is_method_call: bool) -> object:
        """Exchanges the function; the object of a method call becomes the first argument."""
        del definition
        if is_method_call and isinstance(call.func, ast.Attribute):
            call.args.insert(0, call.func.value)
        call.func = ast.copy_location(ast.Name(name, ast.Load()), call.func)
        module, _, function = self.address.partition(":")
        return getattr(import_module(module), function)
