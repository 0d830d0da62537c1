"""Floating point operations of a step against counts by hand: a product of (m, k) and (k, n) takes 2 m k n."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.tracing.flops import step_flops
from unvanish.tracing.inputs_and_loss import CallArguments

B, T, E, H = 3, 5, 8, 6  # batch, steps, features in, features out
GATES = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}


def flops(model: nn.Module, *inputs: Tensor) -> int | None:
    model.train()
    outputs = model(*inputs)
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return step_flops(model, CallArguments(inputs, {}), {0: torch.ones_like(first)})


class Attention(nn.Module):
    """Attention over inputs that have been projected by one weight, so that a gradient goes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(E, E, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


class FromFunction(nn.Module):
    """A network with the forward pass of a function."""

    def __init__(self, module: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.run = module, run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.module, x)


def frozen_first() -> nn.Module:
    net = nn.Sequential(nn.Linear(E, H), nn.Linear(H, H))
    net[0].requires_grad_(False)
    return net


def cells(cell: nn.Module, x: Tensor) -> Tensor:
    state = torch.zeros(B, H)
    for step in range(T):
        state = cell(x[:, step], state)
    return state


PRODUCT = 2 * B * E * H
SCORES = 2 * B * T * T * E  # queries by keys; weights by values takes as much

COUNTS: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "linear": (nn.Linear(E, H), (B, E), 2 * PRODUCT),
    # The second layer sends a gradient on; the first has nobody to send it to.
    "two linear": (nn.Sequential(nn.Linear(E, H), nn.ReLU(), nn.Linear(H, H)), (B, E), 2 * PRODUCT + 3 * 2 * B * H * H),
    "what is frozen only runs forward": (frozen_first(), (B, E), PRODUCT + 2 * 2 * B * H * H),
    "one example": (nn.Linear(E, H), (E,), 2 * 2 * E * H),
    "convolution": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (B, 4, 7, 7), 2 * 2 * B * 6 * 7 * 7 * 2 * 9),
    "depthwise": (
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4)),
        (B, 4, 7, 7),
        2 * 2 * B * 49 * 16 + 3 * 2 * B * 25 * 36,
    ),
    "transposed convolution": (nn.ConvTranspose1d(4, 6, 3), (B, 4, 7), 2 * 2 * B * 4 * 6 * 7 * 3),
    # Its backward pass computes the scores once more, and four gradients.
    "attention": (Attention(), (B, 2, T, E), 2 * (2 * B * 2 * T * E * E) + 2 * (2 + 5) * SCORES),
    # Three projections and one back, which all send gradients but the first; two products in, two gradients each.
    "multi-head": (
        FromFunction(nn.MultiheadAttention(E, 2, batch_first=True), lambda m, x: m(x, x, x)[0]),
        (B, T, E),
        2 * B * T * E * E * (2 * 3 + 3) + 3 * 2 * SCORES,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_operations_of_a_step_are_those_counted_by_hand(name: str) -> None:
    net, shape, expected = COUNTS[name]
    assert flops(net, torch.randn(shape)) == expected


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_recurrence_takes_its_products_at_every_step(kind: type[nn.RNNBase], dtype: torch.dtype) -> None:
    rows = GATES[kind] * H
    fused = 3 * 2 * B * T * rows * (E + H)
    # A fused kernel computes every gradient; step by step, nobody asks for those of the input and of the first state.
    by_steps = fused - 2 * B * T * rows * E - 2 * B * rows * H
    counted = flops(kind(E, H, batch_first=True).to(dtype), torch.randn(B, T, E, dtype=dtype))
    assert counted == by_steps or (kind is nn.LSTM and dtype is torch.float32 and counted == fused)


def test_a_cell_that_is_called_at_every_step_takes_as_much_as_the_recurrence() -> None:
    net = FromFunction(nn.RNNCell(E, H), cells)
    assert flops(net, torch.randn(B, T, E)) == flops(nn.RNN(E, H, batch_first=True), torch.randn(B, T, E))


def test_counting_leaves_gradients_buffers_random_state_and_inputs_as_they_were() -> None:
    net = nn.Sequential(nn.Linear(E, H), nn.BatchNorm1d(H), nn.Dropout(0.5), nn.ReLU(inplace=True))
    inputs = torch.randn(B, E, requires_grad=True)
    net(inputs).sum().backward()
    grads = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    state = torch.get_rng_state()
    assert step_flops(net, CallArguments((inputs,), {}), {0: torch.ones(B, H)}) == 2 * PRODUCT
    assert all(torch.equal(a, b.grad) for a, b in zip(grads, net.parameters(), strict=True) if b.grad is not None)
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_cannot_run_twice_has_no_count() -> None:
    class Once(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("once is enough")

    assert step_flops(Once(), CallArguments((torch.randn(B, E),), {}), {0: torch.ones(B, E)}) is None


def test_retracing_loads_neither_the_compiler_nor_symbolic_algebra() -> None:
    program = """
import sys, torch
from torch import nn
from unvanish.tracing import retrace_step
net, inputs = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), torch.ones(3, 4)
print(retrace_step(net, (inputs,), {}, {0: torch.ones(3, 2)}, (), lambda path: None).flops)
print(sorted({"sympy", "torch._dynamo"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [str(2 * 3 * (16 * 2 + 8 * 3)), "[]"]
