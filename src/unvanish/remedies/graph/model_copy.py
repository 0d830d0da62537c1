"""Copies a network for a look at how it runs, so that the look leaves no mark. It never runs the user's own network."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import warnings
from collections import OrderedDict
from collections.abc import Generator, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Hooks may hold anything (a logger, an open file) and would run on the copy as if it were the network: they are not copied.
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def model_copy(network: nn.Module, *, shared: Iterable[Tensor] = ()) -> nn.Module:
    """A copy of the network in evaluation mode, without its hooks. Tensors in `shared` are not copied but used by both.

    Raises whatever copying the user's modules raises.
    """
    memo = {id(tensor): tensor for tensor in shared} | hooks_left_out(network)
    return copy.deepcopy(network, memo).eval()


def hooks_left_out(network: nn.Module) -> dict[int, Any]:
    """A memo for copy.deepcopy that leaves the network's hooks out of the copy."""
    states = [vars(module) for module in network.modules()]
    return {id(state[name]): OrderedDict[int, Any]() for state in states for name in _HOOKS if name in state}


def paths_of(network: nn.Module) -> dict[nn.Module, str]:
    """The path of every module of a network; the first one of a module that is shared."""
    return {module: path for path, module in network.named_modules()}


@contextlib.contextmanager
def without_trace() -> Generator[None]:
    """Runs the user's code inside it without output, warnings, gradients, or a change to any random state."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with (
            warnings.catch_warnings(),
            torch.random.fork_rng(),
            torch.no_grad(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
