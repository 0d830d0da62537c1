"""Copies of a network that can be run for inspection without side effects on the original, its hooks or the program's state."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Generator, Iterable

import torch
from torch import Tensor, nn

from unvanish.network.module_hooks import memo_without_hooks
from unvanish.network.random_state import preserved_random_state


def model_copy(network: nn.Module, *, shared: Iterable[Tensor] = ()) -> nn.Module:
    """A deep copy of the network in evaluation mode, without its hooks.

    Arguments:
        network: the network to copy.
        shared: tensors that the copy uses as well, instead of copies of them.

    Raises whatever copying the user's modules raises.
    """
    memo = {id(tensor): tensor for tensor in shared} | memo_without_hooks(network)
    return copy.deepcopy(network, memo).eval()


def module_paths(network: nn.Module) -> dict[nn.Module, str]:
    """The path of every module of a network; of a module that is shared, its first path."""
    return {module: path for path, module in network.named_modules()}


@contextlib.contextmanager
def without_side_effects() -> Generator[None]:
    """A context in which code prints nothing, warns of nothing, records no gradients and leaves all random states unchanged."""
    with (
        warnings.catch_warnings(),
        preserved_random_state(),
        torch.no_grad(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
