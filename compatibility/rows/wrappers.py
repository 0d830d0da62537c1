"""Rows of what wraps a network: the compiler in its forms, and what divides a network among devices and ranks."""

from __future__ import annotations

from typing import Any

from compatibility.row import Row
from compatibility.rows.digits import deep_sigmoid, digits_row
from compatibility.rows.launchers import TORCHRUN

GROUP = "Wrappers"


def wrapper(name: str, title: str, program: str, **fields: Any) -> Row:
    """A row of this group."""
    return digits_row(name, GROUP, title, program, **fields)


def compiled(name: str, title: str, *arguments: str, needs: tuple[str, ...] = ()) -> Row:
    """A row of the compiled classifier."""
    return wrapper(name, title, "compiled", launch=("train.py", "--backend", *arguments), needs=needs)


SPLIT = deep_sigmoid(depth="depth=2", deeper="depth=5")

WRAPPERS = (
    compiled("compile-eager", "`torch.compile`, backend eager", "eager"),
    compiled("compile-aot", "`torch.compile`, backend aot_eager, under autocast", "aot_eager", "--autocast"),
    compiled("compile-inductor", "`torch.compile`, backend inductor", "inductor", needs=("gcc",)),
    compiled("compile-dynamic", "`torch.compile`, dynamic shapes", "aot_eager", "--dynamic"),
    compiled("compile-in-place", "`model.compile()` after the optimizer is made", "aot_eager", "--in-place", "--after-optimizer"),
    wrapper("compile-step", "compiled loss and optimizer step", "compiled_step"),
    wrapper("data-parallel", "DataParallel", "data_parallel"),
    wrapper("fsdp", "FSDP2 (`fully_shard`) on two ranks", "fsdp", launch=TORCHRUN),
    wrapper("tensor-parallel", "tensor parallelism (DTensor) on two ranks", "tensor_parallel", launch=TORCHRUN, twin=SPLIT),
)
