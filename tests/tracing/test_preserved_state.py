"""A trace changes nothing: buffers, gradients, random state, modes, hooks and torch itself, also after a fault."""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint as checkpointing
from autograd_oracle import trace_case
from network_cases import CASES, Block, build_case
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from unvanish.tracing import trace

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])


class Restless(nn.Module):
    """Draws from every generator, has running statistics, and may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.again = nn.LSTM(3, 3)
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x) * (1.0 + random.random()) + float(np.random.rand())
        y = checkpointing.checkpoint(torch.tanh, y, use_reentrant=True)
        y = self.again(y)[0]
        if self.fails:
            raise ArithmeticError("in the middle of it")
        return y


class OfThree(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 3.0 * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 3.0 * g


def everything(model: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """What somebody could find changed, as values that compare."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "inputs": inputs}
    return {
        "values": {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()},
        "versions": {name: tensor._version for name, tensor in tensors.items() if isinstance(tensor, nn.Parameter)},
        "gradients": {name: None if t.grad is None else (id(t.grad), t.grad.numpy().tobytes()) for name, t in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "identities": {name: id(tensor) for name, tensor in tensors.items()},
        "tensor hooks": {name: len(tensor._backward_hooks or {}) for name, tensor in tensors.items()},
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "global hooks": (len(module_hooks._global_forward_hooks), len(module_hooks._global_forward_pre_hooks)),
        "random": (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state())),
        "apply": torch.autograd.Function.__dict__["apply"],
        "checkpointing": dict(vars(checkpointing)),
        "fused": (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.overrides._len_torch_function_stack()),
        "anomaly": (torch.is_anomaly_enabled(), torch.get_default_dtype()),
    }


def with_gradients(model: nn.Module) -> nn.Module:
    """Half of the parameters hold a gradient already, and one is frozen."""
    parameters = list(model.parameters())
    for parameter in parameters[::2]:
        parameter.grad = torch.randn_like(parameter)
    parameters[1].requires_grad_(False)
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("to", [None, "body.0.weight"])
def test_a_trace_leaves_all_state_unchanged(training: bool, to: str | None) -> None:
    torch.manual_seed(0)
    model, inputs = with_gradients(Restless()).train(training), X.clone().requires_grad_()
    inputs.grad = torch.ones_like(inputs)
    before = everything(model, inputs)
    trace(model, inputs, Y, to=to)
    assert everything(model, inputs) == before


@pytest.mark.parametrize("where", ["forward", "loss", "no gradient", "no number"])
def test_a_failed_trace_leaves_all_state_unchanged(where: str) -> None:
    torch.manual_seed(0)
    model = with_gradients(Restless(fails=where == "forward"))

    def loss(outputs: Tensor) -> Tensor:
        if where == "loss":
            raise ArithmeticError("in the loss")
        return outputs.detach().sum() if where == "no gradient" else outputs.sum() * float("nan")

    before = everything(model, X)
    with pytest.raises(Exception, match=r"in the|no path|nothing that carries|nan"):
        trace(model, X, loss)
    assert everything(model, X) == before


@pytest.mark.parametrize("name", CASES)
def test_networks_of_every_kind_are_left_unchanged(name: str) -> None:
    case = build_case(name)
    values = list(case.inputs.values()) if isinstance(case.inputs, dict) else [case.inputs]
    before = [everything(case.model, value) for value in values]
    trace_case(case)
    assert [everything(case.model, value) for value in values] == before


def test_a_fault_in_the_backward_pass_leaves_all_state_unchanged() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            raise ArithmeticError("in the backward pass")

    class Net(Restless):
        def forward(self, x: Tensor) -> Tensor:
            return Fails.apply(super().forward(x))

    model = with_gradients(Net())
    before = everything(model, X)
    with pytest.raises(ArithmeticError, match="in the backward pass"):
        trace(model, X, Y)
    assert everything(model, X) == before


def test_training_goes_on_bit_identically_after_a_trace() -> None:
    def train(traced: bool) -> bytes:
        torch.manual_seed(0)
        model = Restless()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        random.seed(0)
        np.random.seed(0)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            if traced:
                trace(model, X, Y)
            optimizer.step()
        return b"".join(value.detach().numpy().tobytes() for value in model.state_dict().values())

    assert train(traced=True) == train(traced=False)


def test_hooks_of_the_user_stay_and_run_once_a_pass() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    called: list[str] = []
    model[0].register_forward_hook(lambda *_: called.append("forward"))
    model[1].register_forward_pre_hook(lambda *_: called.append("before"))
    trace(model, X, Y)
    assert called == ["forward", "before"]
    model(X)
    assert called == ["forward", "before"] * 2


def test_a_custom_function_still_works_after_a_trace() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return OfThree.apply(x)

    assert trace(Net(), X, Tensor.sum).total == pytest.approx(0.4771, abs=1e-4)
    x = X.clone().requires_grad_()
    OfThree.apply(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(X, 3.0))


@pytest.mark.parametrize("name", ["resnet with batch norm", "lstm", "checkpoints", "custom function"])
def test_nothing_keeps_the_network_or_its_inputs_alive(name: str) -> None:
    case = build_case(name)
    flow = trace_case(case)
    model, inputs = weakref.ref(case.model), weakref.ref(case.inputs)
    module = weakref.ref(next(case.model.children()))
    del case
    gc.collect()
    assert (model(), inputs(), module()) == (None, None, None)
    assert flow.ops


def test_a_flow_holds_no_tensor_and_a_fault_keeps_nothing_alive() -> None:
    model = nn.Sequential(Block(3, normed=True), nn.Flatten())
    alive = weakref.ref(model)
    with pytest.raises(Exception, match="reduce it to one number"):
        trace(model, torch.randn(2, 3, 4, 4), lambda outputs: outputs)
    del model
    gc.collect()
    assert alive() is None
