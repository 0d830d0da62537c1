"""clip-norm, clip-adaptive and warmup: what their hooks do to a step, against torch's own and against loops."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from digits import chain, digits, trained_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from remedy_networks import Listed, Nested, build, inputs, mlp, step
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam, Optimizer, RMSprop, SparseAdam
from torch.optim.lr_scheduler import LambdaLR

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.catalogue.optimisation.adamw import AdamW as AdamWRemedy
from unvanish.remedies.catalogue.optimisation.clip_adaptive import ClipAdaptive
from unvanish.remedies.catalogue.optimisation.clip_norm import ClipNorm
from unvanish.remedies.catalogue.optimisation.sgd_momentum import SgdMomentum
from unvanish.remedies.catalogue.optimisation.warmup import WarmUp, length_for
from unvanish.remedies.hooks.clip_adaptive import ClipAdaptive as AdaptiveHook
from unvanish.remedies.hooks.clip_adaptive import clip_units_
from unvanish.remedies.hooks.clip_norm import ClipNorm as NormHook
from unvanish.remedies.hooks.scaled_learning_rate import WARMED, ScaledRate
from unvanish.remedies.hooks.scaled_learning_rate import WarmUp as WarmUpHook

SHELF = {remedy.name: remedy for remedy in (ClipNorm(), ClipAdaptive(), WarmUp(), AdamWRemedy(), SgdMomentum())}


def pair(seed: int = 0, *, lr: float = 0.1) -> tuple[nn.Module, SGD]:
    network = build("mlp", seed=seed)
    return network, SGD(network.parameters(), lr=lr)


def same(network: nn.Module, other: nn.Module, *, rtol: float = 1e-6) -> bool:
    return all(torch.allclose(a, b, rtol=rtol, atol=1e-9) for a, b in zip(network.parameters(), other.parameters(), strict=True))


# Steps that are not taken


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_whose_gradient_is_not_finite_moves_nothing_and_the_next_one_does(bad: float) -> None:
    network = build("mlp")
    optimizer = Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    apply(network, "skip-non-finite", optimizer=optimizer)
    before = [p.detach().clone() for p in network.parameters()]
    network(inputs("mlp")).square().sum().backward()
    next(network.parameters()).grad.view(-1)[0] = bad
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    assert not optimizer.state
    assert all(not p.grad.any() for p in network.parameters())
    network(inputs("mlp")).square().sum().backward()  # nobody cleared the gradients: they are fresh all the same
    optimizer.step()
    assert all(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    with pytest.raises(NotApplicable, match="passed over so already"):
        apply(network, "skip-non-finite", optimizer=optimizer)


# Clipping by the common length


@settings(max_examples=30, deadline=None)
@given(size=st.floats(-6, 6), seed=st.integers(0, 5))
def test_gradients_are_clipped_as_by_torch(size: float, seed: int) -> None:
    (network, optimizer), (other, plain) = pair(seed), pair(seed)
    apply(network, "clip-norm", optimizer=optimizer, catalogue=SHELF)
    for n in (network, other):
        (n(inputs("mlp")).square().mean() * 10**size).backward()
    clip_grad_norm_(other.parameters(), 1.0)
    optimizer.step()
    plain.step()
    assert same(network, other)


def test_squares_that_float16_cannot_hold_do_not_make_the_length_infinite() -> None:
    parameter = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    optimizer = SGD([parameter], lr=1.0)
    optimizer.register_step_pre_hook(NormHook(1.0).before_step)
    parameter.grad = torch.full((4,), 6e4, dtype=torch.float16)
    optimizer.step()
    assert parameter.detach().tolist() == pytest.approx([-0.5] * 4, rel=1e-2)


@pytest.mark.parametrize("keyword", [False, True])
def test_gradients_that_a_closure_makes_are_clipped(keyword: bool) -> None:
    (network, optimizer), (other, plain) = pair(), pair()
    apply(network, "clip-norm", optimizer=optimizer, catalogue=SHELF)
    calls: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = network(inputs("mlp")).square().sum() * 100
        loss.backward()
        calls.append(float(loss.detach()))
        return loss

    loss = optimizer.step(closure=closure) if keyword else optimizer.step(closure)
    assert calls == [float(loss.detach())]
    (other(inputs("mlp")).square().sum() * 100).backward()
    clip_grad_norm_(other.parameters(), 1.0)
    plain.step()
    assert same(network, other)


@pytest.mark.parametrize("name", ["clip-norm", "clip-adaptive"])
def test_a_fused_optimizer_under_a_scaler_clips_the_true_gradient(name: str) -> None:
    networks = [build("mlp") for _ in range(2)]
    optimizers = [SGD(networks[0].parameters(), lr=0.1, fused=True), SGD(networks[1].parameters(), lr=0.1)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for network, optimizer in zip(networks, optimizers, strict=True):
        apply(network, name, optimizer=optimizer, catalogue=SHELF)
    scaler.scale(networks[0](inputs("mlp")).square().sum()).backward()
    scaler.step(optimizers[0])
    networks[1](inputs("mlp")).square().sum().backward()
    optimizers[1].step()
    assert same(*networks, rtol=1e-5)


def test_sparse_gradients_count_and_are_clipped() -> None:
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = SGD(table.parameters(), lr=1.0)
    apply(table, "clip-norm", optimizer=optimizer, catalogue=SHELF)
    before = table.weight.detach().clone()
    (table(torch.tensor([1, 1, 3])).sum() * 100).backward()
    optimizer.step()
    moved = (before - table.weight.detach()).norm()
    assert float(moved) == pytest.approx(1.0, rel=1e-5)
    assert torch.equal(before[[0, 2, 4]], table.weight.detach()[[0, 2, 4]])


def test_it_keeps_a_network_whole_that_one_step_would_throw_off() -> None:
    losses = []
    for treated in (False, True):
        network = chain(3, nn.ReLU, seed=1)
        optimizer = SGD(network.parameters(), lr=0.2)
        if treated:
            apply(network, "clip-norm", optimizer=optimizer, catalogue=SHELF)
        losses.append(trained_loss(network, optimizer, steps=150, images=digits()[0] * 300))
    assert losses[0] > 2.0
    assert losses[1] < 0.5


# Adaptive clipping


def naive(gradient: Tensor, weight: Tensor, factor: float) -> Tensor:
    """Unit by unit, in a loop."""
    if weight.dim() < 2:
        longest = factor * max(float(weight.norm()), 1e-3)
        return gradient * min(1.0, longest / float(gradient.norm())) if float(gradient.norm()) else gradient
    return torch.stack([naive(g.flatten(), w.flatten(), factor).view_as(g) for g, w in zip(gradient, weight, strict=True)])


@settings(max_examples=40, deadline=None)
@given(shape=st.sampled_from([(), (5,), (4, 3), (4, 3, 2), (4, 3, 2, 2)]), size=st.floats(-4, 2), seed=st.integers(0, 9))
def test_units_are_clipped_as_one_by_one(shape: tuple[int, ...], size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    gradient = torch.randn(shape, generator=generator) * 10**size
    if shape:
        weight[0], gradient[-1] = 0.0, 0.0
    assert torch.allclose(clip_units_(gradient.clone(), weight, 0.01), naive(gradient, weight, 0.01), rtol=1e-5)


def test_the_output_channels_of_a_transposed_convolution_are_its_second_axis() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 2))
    optimizer = SGD(network.parameters(), lr=1.0)
    apply(network, "clip-adaptive", optimizer=optimizer, catalogue=SHELF)
    weight = network[0].weight.detach().clone()
    (network(torch.ones(8, 3, 2, 2)).square().sum() * 1e4).backward()
    gradient = network[0].weight.grad.clone()
    optimizer.step()
    expected = weight - naive(gradient.transpose(0, 1), weight.transpose(0, 1), 0.01).transpose(0, 1)
    assert torch.allclose(network[0].weight.detach(), expected, rtol=1e-5, atol=1e-7)


def test_no_unit_moves_by_more_than_its_share_but_for_the_output_layer() -> None:
    for network in (mlp(), Listed(), Nested().eval()):
        head = network[4] if isinstance(network, nn.Sequential) else list(network.children())[-1]
        optimizer = SGD(network.parameters(), lr=1.0)
        apply(network, "clip-adaptive", optimizer=optimizer, catalogue=SHELF)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimizer.zero_grad()
        (network(inputs("mlp")).square().sum() * 1e3).backward()
        optimizer.step()
        for name, parameter in network.named_parameters():
            moved = (parameter.detach() - before[name]).flatten(1).norm(dim=1) if parameter.dim() > 1 else None
            if moved is not None and not any(parameter is p for p in head.parameters()):
                assert (moved <= 0.0101 * before[name].flatten(1).norm(dim=1)).all()
        assert float((head.weight.detach() - before[_path(network, head)]).norm()) > 1.0


def _path(network: nn.Module, layer: nn.Module) -> str:
    return next(f"{path}.weight" for path, m in network.named_modules() if m is layer)


def test_a_network_that_is_only_an_output_layer_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    with pytest.raises(NotApplicable, match="nothing but an output layer"):
        apply(network, "clip-adaptive", optimizer=SGD(network.parameters()), catalogue=SHELF)


def test_it_lets_a_deep_network_train_at_a_rate_that_would_break_it() -> None:
    losses = []
    for treated in (False, True):
        network = chain(4, nn.ReLU, width=64)
        optimizer = SGD(network.parameters(), lr=2.0)
        if treated:
            apply(network, "clip-adaptive", optimizer=optimizer, catalogue=SHELF)
        losses.append(trained_loss(network, optimizer, steps=200))
    assert not losses[0] < 2.0
    assert losses[1] < 1.5


# Warm-up and factors


def test_the_ramp_is_as_long_as_the_optimizer_remembers() -> None:
    parameters = [nn.Parameter(torch.zeros(2))]
    lengths = {
        SGD(parameters, lr=0.1): 100,
        Adam(parameters): 2000,
        Adam(parameters, betas=(0.9, 0.99)): 200,
        RMSprop(parameters): 200,
        SparseAdam(parameters): 2000,
        torch.optim.ASGD(parameters): 100,
        torch.optim.Adagrad(parameters): 100,
    }
    for optimizer, length in lengths.items():
        assert length_for(optimizer.param_groups[0]) == length


def test_steps_grow_linearly_and_the_rate_in_the_group_stays() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    network = nn.ParameterList([parameter])
    optimizer = SGD([parameter], lr=0.5)
    change = apply(network, "warmup", optimizer=optimizer, catalogue=SHELF)
    moved = []
    for _ in range(130):
        before = float(parameter.detach())
        parameter.grad = torch.ones(1)
        optimizer.step()
        moved.append(before - float(parameter.detach()))
        assert optimizer.param_groups[0]["lr"] == 0.5
    assert moved == pytest.approx([0.5 * min(1.0, t / 100) for t in range(1, 131)], rel=1e-3)
    assert optimizer.state_dict()["param_groups"][0][WARMED] == 100
    change.undo()
    assert WARMED not in optimizer.param_groups[0]


def test_a_resumed_training_does_not_warm_up_again() -> None:
    optimizers = []
    for _ in range(2):
        network, optimizer = pair()
        apply(network, "warmup", optimizer=optimizer, catalogue=SHELF)
        optimizers.append((network, optimizer))
    (network, optimizer), (other, resumed) = optimizers
    for _ in range(30):
        step(network, optimizer, inputs("mlp"))
    other.load_state_dict(network.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    for n, o in optimizers:
        step(n, o, inputs("mlp"))
        assert o.param_groups[0][WARMED] == 31
    assert same(network, other)
    _, plain = pair()
    plain.load_state_dict(optimizer.state_dict())  # a script without the remedy takes it too


@pytest.mark.parametrize("order", [("warmup", "adamw"), ("adamw", "warmup"), ("warmup", "clip-norm", "adamw")])
def test_factors_multiply_and_every_rate_comes_back(order: tuple[str, ...]) -> None:
    network, optimizer = pair()
    LambdaLR(optimizer, lambda t: 1.0)
    change = apply(network, *order, optimizer=optimizer, catalogue=SHELF)
    seen: list[float] = []
    inner = type(optimizer).step

    def spy(hooked: Optimizer, args: Any, kwargs: Any) -> None:
        seen.append(float(hooked.param_groups[0]["lr"]))

    optimizer.register_step_pre_hook(spy)
    for _ in range(3):
        step(network, optimizer, inputs("mlp"))
        assert optimizer.param_groups[0]["lr"] == 0.1
    assert type(optimizer).step is inner
    length = 2000 if order.index("warmup") > 0 else 100
    assert seen == pytest.approx([1e-3 * t / length for t in (1, 2, 3)])
    change.undo()
    assert type(optimizer) is SGD


def test_a_step_that_raises_leaves_no_rate_behind() -> None:
    network, optimizer = pair()
    apply(network, "warmup", optimizer=optimizer, catalogue=SHELF)

    def closure() -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    step(network, optimizer, inputs("mlp"))
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_rate_that_is_a_tensor_keeps_its_object() -> None:
    network = mlp()
    rate = torch.tensor(1e-3)
    optimizer = Adam(network.parameters(), lr=rate, foreach=False)
    apply(network, "warmup", optimizer=optimizer, catalogue=SHELF)
    step(network, optimizer, inputs("mlp"))
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(1e-3)


def test_hooks_pickle_and_copy() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    for hook in (NormHook(1.0), AdaptiveHook(0.01, [weight]), WarmUpHook({0: 10}), ScaledRate([0.1])):
        for twin in (pickle.loads(pickle.dumps(hook.before_step)), copy.deepcopy(hook.before_step)):
            parameter = nn.Parameter(torch.zeros(2))
            optimizer = SGD([parameter], lr=1.0)
            optimizer.register_step_pre_hook(twin)
            parameter.grad = torch.tensor([30.0, 40.0])
            optimizer.step()
            assert 0 < float(parameter.detach().norm()) < 50


def test_warming_up_keeps_adam_from_breaking_a_network_at_its_first_steps() -> None:
    first = []
    for treated in (False, True):
        network = chain(8, nn.Tanh, width=64)
        optimizer = Adam(network.parameters(), lr=0.03, betas=(0.9, 0.99))
        if treated:
            apply(network, "warmup", optimizer=optimizer, catalogue=SHELF)
        first.append(trained_loss(network, optimizer, steps=60))
    assert first[0] > 2.0
    assert first[1] < 1.8
