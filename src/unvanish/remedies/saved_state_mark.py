"""Marks the saved state of a network whose remedies live in memory only, so that it loads into no network without them.

The mark is an entry of the `state_dict` whose name says it in words. torch refuses a name that the other side lacks:

    Unexpected key(s) in state_dict: "changed by unvanish: relu, batchnorm".

It is a buffer, so that copies, pickles, wrappers and every format of checkpoints keep it, and undoing the change removes it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

PREFIX = "changed by unvanish: "

FUNCTION_FAMILIES = frozenset({"activation", "normalisation", "architecture", "data", "output"})
"""The families whose remedies change what a network computes from its weights; the others change its weights or their training."""


def mark_saved_state(network: nn.Module, names: Iterable[str]) -> None:
    """Registers the mark on a network, with the names of the remedies behind those of an earlier mark.

    Example:
        >>> network, plain = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> mark_saved_state(network, ["relu"])
        >>> plain.load_state_dict(network.state_dict(), strict=False).unexpected_keys
        ['changed by unvanish: relu']
    """
    earlier = [name for name, _ in network.named_buffers(recurse=False) if name.startswith(PREFIX)]
    for name in earlier:
        delattr(network, name)
    text = ", ".join([*(name.removeprefix(PREFIX) for name in earlier), *names])
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    network.register_buffer(f"{PREFIX}{text.replace('.', '-')}", torch.zeros((), dtype=torch.uint8, device=device))
