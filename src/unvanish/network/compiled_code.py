"""Whether torch's compiler is loaded, and its warning about hooks on all modules. Imports no torch."""

from __future__ import annotations

import sys

# torch warns that hooks on all modules run once more for a compiled wrapper. Ours allow for that, and the user set none.
GLOBAL_HOOKS_WARNING = r"Using `torch\.compile\(module\)` when there are global hooks on modules"


def is_compiler_loaded() -> bool:
    """Whether torch's compiler has been imported. Where not, no code is compiled, and importing it to ask would take seconds."""
    return "torch._dynamo.eval_frame" in sys.modules
