"""Whether torch's compiler is loaded, what keeps functions of ours out of it, and its warning about hooks on all modules.

Importing this imports no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

# torch warns that hooks on all modules run once more for a compiled wrapper. Ours allow for that, and the user set none.
GLOBAL_HOOKS_WARNING = r"Using `torch\.compile\(module\)` when there are global hooks on modules"


def is_compiler_loaded() -> bool:
    """Whether torch's compiler has been imported. Where not, no code is compiled, and importing it to ask would take seconds."""
    return "torch._dynamo.eval_frame" in sys.modules


def exclude_from_tracing(*functions: Callable[..., Any]) -> None:
    """Has torch's compiler never compile these Python functions, which it would where a compiled region calls them.

    What they call is compiled as before. Imports torch, but not its compiler.
    """
    from torch._C._dynamo import eval_frame as compiled_eval_frame

    eval_frame: Any = compiled_eval_frame
    set_strategy = getattr(eval_frame, "set_code_exec_strategy", None)
    for function in (*functions, call_uncompiled):
        if set_strategy is None:  # in older versions of torch
            eval_frame.skip_code(function.__code__)
        else:
            action = eval_frame._FrameAction
            set_strategy(function.__code__, eval_frame._FrameExecStrategy(action.SKIP, action.DEFAULT))


def call_uncompiled(function: Callable[..., None], *args: Any) -> None:
    """Calls a function of which torch's compiler compiles nothing, also where a compiled region calls this."""
    from torch._C._dynamo.eval_frame import set_eval_frame

    callback = set_eval_frame(None)
    try:
        function(*args)
    finally:
        set_eval_frame(callback)
