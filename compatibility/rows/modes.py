"""Rows of how a training step is written, of what trains nothing, and of how a script ends."""

from __future__ import annotations

from typing import Any

from compatibility.row import Figure, Replacement, Row, Twin
from compatibility.rows.digits import RATE_TOO_HIGH, digits_row

GROUP = "Modes"
NO_NETWORK = "there is no network to make sick or to cure"
VAE = Twin((Replacement("train.py", "lr=1e-3", "lr=0.3"),), RATE_TOO_HIGH)
RECONSTRUCTION = Figure("val_error", 0.01, lower_is_better=True)


def mode(name: str, title: str, program: str, **fields: Any) -> Row:
    """A row of this group."""
    return digits_row(name, GROUP, title, program, **fields)


def healthy_only(name: str, title: str, program: str, why: str) -> Row:
    """A row of this group without a sick twin."""
    return Row(name, GROUP, title, program, why=why)


MODES = (
    mode("mixed-precision", "autocast with a GradScaler", "mixed_precision"),
    mode("checkpointing", "activation checkpoints", "checkpointing"),
    mode("checkpointing-reentrant", "the same, reentrant", "checkpointing", launch=("train.py", "--reentrant")),
    mode("torch-func", "`vmap(grad)` over examples", "torch_func"),
    mode("functional-call", "`functional_call` with parameters kept apart", "functional_call"),
    mode("autograd-grad", "`torch.autograd.grad` and an update of its own", "autograd_grad"),
    mode("lbfgs", "LBFGS with a closure", "lbfgs"),
    mode("accumulation", "gradients accumulated over four batches", "accumulation"),
    mode("sys-exit", "a script that ends in `sys.exit(0)`", "exits"),
    mode("os-exit", "a script that ends in `os._exit(7)`", "exits", launch=("train.py", "--at-once"), exit_code=7),
    mode("vae", "a variational autoencoder with a summed loss; sick by its rate", "vae", twin=VAE, figure=RECONSTRUCTION),
    healthy_only("gan", "a generative adversarial network", "gan", "its two losses have no figure that tells a cure from a draw"),
    healthy_only("raw-tensors", "bare tensors and own autograd functions", "raw_tensors", NO_NETWORK),
    healthy_only("no-module", "a script that trains nothing", "no_module", NO_NETWORK),
    healthy_only("inference", "a script that only infers", "inference", "nothing is trained"),
)
