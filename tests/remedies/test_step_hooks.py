"""Step hooks of clip-norm, clip-adaptive, skip-non-finite and warmup, against torch's own functions and against loops."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from digits import deep_network, digits, loss_after_training
from hypothesis import given, settings
from hypothesis import strategies as st
from remedy_networks import Listed, Nested, build_network, example_inputs, mlp, training_step
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
from unvanish.remedies.catalogue.optimisation.warmup import WarmUp, warmup_length
from unvanish.remedies.hooks.clip_adaptive import ClipAdaptive as AdaptiveHook
from unvanish.remedies.hooks.clip_adaptive import clip_units_
from unvanish.remedies.hooks.clip_norm import ClipNorm as NormHook
from unvanish.remedies.hooks.scaled_learning_rate import WARMUP_STEPS_KEY, ConstantRateFactor
from unvanish.remedies.hooks.scaled_learning_rate import WarmUp as WarmUpHook

CATALOGUE = {remedy.name: remedy for remedy in (ClipNorm(), ClipAdaptive(), WarmUp(), AdamWRemedy(), SgdMomentum())}


def network_and_optimizer(seed: int = 0, *, lr: float = 0.1) -> tuple[nn.Module, SGD]:
    network = build_network("mlp", seed=seed)
    return network, SGD(network.parameters(), lr=lr)


def has_same_parameters(network: nn.Module, other: nn.Module, *, rtol: float = 1e-6) -> bool:
    return all(torch.allclose(a, b, rtol=rtol, atol=1e-9) for a, b in zip(network.parameters(), other.parameters(), strict=True))


# Skipped steps


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_with_a_non_finite_gradient_is_skipped_and_the_next_one_is_not(bad: float) -> None:
    network = build_network("mlp")
    optimizer = Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    apply(network, "skip-non-finite", optimizer=optimizer)
    before = [p.detach().clone() for p in network.parameters()]
    network(example_inputs("mlp")).square().sum().backward()
    next(network.parameters()).grad.view(-1)[0] = bad
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    assert not optimizer.state
    assert all(not p.grad.any() for p in network.parameters())
    network(example_inputs("mlp")).square().sum().backward()  # nobody cleared the gradients: they are fresh all the same
    optimizer.step()
    assert all(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    with pytest.raises(NotApplicable, match="passed over so already"):
        apply(network, "skip-non-finite", optimizer=optimizer)


# Clipping by the global norm


@settings(max_examples=30, deadline=None)
@given(size=st.floats(-6, 6), seed=st.integers(0, 5))
def test_gradients_are_clipped_as_by_clip_grad_norm(size: float, seed: int) -> None:
    (network, optimizer), (other, plain) = network_and_optimizer(seed), network_and_optimizer(seed)
    apply(network, "clip-norm", optimizer=optimizer, catalogue=CATALOGUE)
    for n in (network, other):
        (n(example_inputs("mlp")).square().mean() * 10**size).backward()
    clip_grad_norm_(other.parameters(), 1.0)
    optimizer.step()
    plain.step()
    assert has_same_parameters(network, other)


def test_the_norm_of_float16_gradients_does_not_overflow() -> None:
    parameter = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    optimizer = SGD([parameter], lr=1.0)
    optimizer.register_step_pre_hook(NormHook(1.0).before_step)
    parameter.grad = torch.full((4,), 6e4, dtype=torch.float16)
    optimizer.step()
    assert parameter.detach().tolist() == pytest.approx([-0.5] * 4, rel=1e-2)


@pytest.mark.parametrize("keyword", [False, True])
def test_gradients_that_a_closure_computes_are_clipped(keyword: bool) -> None:
    (network, optimizer), (other, plain) = network_and_optimizer(), network_and_optimizer()
    apply(network, "clip-norm", optimizer=optimizer, catalogue=CATALOGUE)
    calls: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = network(example_inputs("mlp")).square().sum() * 100
        loss.backward()
        calls.append(float(loss.detach()))
        return loss

    loss = optimizer.step(closure=closure) if keyword else optimizer.step(closure)
    assert calls == [float(loss.detach())]
    (other(example_inputs("mlp")).square().sum() * 100).backward()
    clip_grad_norm_(other.parameters(), 1.0)
    plain.step()
    assert has_same_parameters(network, other)


@pytest.mark.parametrize("name", ["clip-norm", "clip-adaptive"])
def test_a_fused_optimizer_under_a_scaler_clips_the_true_gradient(name: str) -> None:
    networks = [build_network("mlp") for _ in range(2)]
    optimizers = [SGD(networks[0].parameters(), lr=0.1, fused=True), SGD(networks[1].parameters(), lr=0.1)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for network, optimizer in zip(networks, optimizers, strict=True):
        apply(network, name, optimizer=optimizer, catalogue=CATALOGUE)
    scaler.scale(networks[0](example_inputs("mlp")).square().sum()).backward()
    scaler.step(optimizers[0])
    networks[1](example_inputs("mlp")).square().sum().backward()
    optimizers[1].step()
    assert has_same_parameters(*networks, rtol=1e-5)


def test_sparse_gradients_are_clipped() -> None:
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = SGD(table.parameters(), lr=1.0)
    apply(table, "clip-norm", optimizer=optimizer, catalogue=CATALOGUE)
    before = table.weight.detach().clone()
    (table(torch.tensor([1, 1, 3])).sum() * 100).backward()
    optimizer.step()
    moved = (before - table.weight.detach()).norm()
    assert float(moved) == pytest.approx(1.0, rel=1e-5)
    assert torch.equal(before[[0, 2, 4]], table.weight.detach()[[0, 2, 4]])


def test_clip_norm_lets_a_network_learn_that_would_diverge_without() -> None:
    losses = []
    for treated in (False, True):
        network = deep_network(3, nn.ReLU, seed=1)
        optimizer = SGD(network.parameters(), lr=0.2)
        if treated:
            apply(network, "clip-norm", optimizer=optimizer, catalogue=CATALOGUE)
        losses.append(loss_after_training(network, optimizer, steps=150, images=digits()[0] * 300))
    assert losses[0] > 2.0
    assert losses[1] < 0.5


# Adaptive clipping


def clip_units_in_loop(gradient: Tensor, weight: Tensor, factor: float) -> Tensor:
    """Adaptive clipping of each unit in a loop."""
    if weight.dim() < 2:
        longest = factor * max(float(weight.norm()), 1e-3)
        return gradient * min(1.0, longest / float(gradient.norm())) if float(gradient.norm()) else gradient
    return torch.stack(
        [clip_units_in_loop(g.flatten(), w.flatten(), factor).view_as(g) for g, w in zip(gradient, weight, strict=True)]
    )


@settings(max_examples=40, deadline=None)
@given(shape=st.sampled_from([(), (5,), (4, 3), (4, 3, 2), (4, 3, 2, 2)]), size=st.floats(-4, 2), seed=st.integers(0, 9))
def test_units_are_clipped_as_in_a_loop_over_units(shape: tuple[int, ...], size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    gradient = torch.randn(shape, generator=generator) * 10**size
    if shape:
        weight[0], gradient[-1] = 0.0, 0.0
    assert torch.allclose(clip_units_(gradient.clone(), weight, 0.01), clip_units_in_loop(gradient, weight, 0.01), rtol=1e-5)


def test_the_output_channels_of_a_transposed_convolution_are_its_second_axis() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 2))
    optimizer = SGD(network.parameters(), lr=1.0)
    apply(network, "clip-adaptive", optimizer=optimizer, catalogue=CATALOGUE)
    weight = network[0].weight.detach().clone()
    (network(torch.ones(8, 3, 2, 2)).square().sum() * 1e4).backward()
    gradient = network[0].weight.grad.clone()
    optimizer.step()
    expected = weight - clip_units_in_loop(gradient.transpose(0, 1), weight.transpose(0, 1), 0.01).transpose(0, 1)
    assert torch.allclose(network[0].weight.detach(), expected, rtol=1e-5, atol=1e-7)


def test_no_unit_outside_the_output_layer_moves_by_more_than_its_limit() -> None:
    for network in (mlp(), Listed(), Nested().eval()):
        head = network[4] if isinstance(network, nn.Sequential) else list(network.children())[-1]
        optimizer = SGD(network.parameters(), lr=1.0)
        apply(network, "clip-adaptive", optimizer=optimizer, catalogue=CATALOGUE)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimizer.zero_grad()
        (network(example_inputs("mlp")).square().sum() * 1e3).backward()
        optimizer.step()
        for name, parameter in network.named_parameters():
            moved = (parameter.detach() - before[name]).flatten(1).norm(dim=1) if parameter.dim() > 1 else None
            if moved is not None and not any(parameter is p for p in head.parameters()):
                assert (moved <= 0.0101 * before[name].flatten(1).norm(dim=1)).all()
        assert float((head.weight.detach() - before[_path(network, head)]).norm()) > 1.0


def _path(network: nn.Module, layer: nn.Module) -> str:
    return next(f"{path}.weight" for path, m in network.named_modules() if m is layer)


def test_clip_adaptive_refuses_a_network_that_is_only_an_output_layer() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    with pytest.raises(NotApplicable, match="nothing but an output layer"):
        apply(network, "clip-adaptive", optimizer=SGD(network.parameters()), catalogue=CATALOGUE)


def test_clip_adaptive_lets_a_deep_network_learn_at_a_rate_that_would_diverge() -> None:
    losses = []
    for treated in (False, True):
        network = deep_network(4, nn.ReLU, width=64)
        optimizer = SGD(network.parameters(), lr=2.0)
        if treated:
            apply(network, "clip-adaptive", optimizer=optimizer, catalogue=CATALOGUE)
        losses.append(loss_after_training(network, optimizer, steps=200))
    assert not losses[0] < 2.0
    assert losses[1] < 1.5


# Warm-up and factors


def test_the_length_of_the_warm_up_follows_the_optimizers_moments() -> None:
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
        assert warmup_length(optimizer.param_groups[0]) == length


def test_steps_grow_linearly_and_the_groups_rate_stays() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    network = nn.ParameterList([parameter])
    optimizer = SGD([parameter], lr=0.5)
    change = apply(network, "warmup", optimizer=optimizer, catalogue=CATALOGUE)
    moved = []
    for _ in range(130):
        before = float(parameter.detach())
        parameter.grad = torch.ones(1)
        optimizer.step()
        moved.append(before - float(parameter.detach()))
        assert optimizer.param_groups[0]["lr"] == 0.5
    assert moved == pytest.approx([0.5 * min(1.0, t / 100) for t in range(1, 131)], rel=1e-3)
    assert optimizer.state_dict()["param_groups"][0][WARMUP_STEPS_KEY] == 100
    change.undo()
    assert WARMUP_STEPS_KEY not in optimizer.param_groups[0]


def test_a_resumed_training_does_not_warm_up_again() -> None:
    optimizers = []
    for _ in range(2):
        network, optimizer = network_and_optimizer()
        apply(network, "warmup", optimizer=optimizer, catalogue=CATALOGUE)
        optimizers.append((network, optimizer))
    (network, optimizer), (other, resumed) = optimizers
    for _ in range(30):
        training_step(network, optimizer, example_inputs("mlp"))
    other.load_state_dict(network.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    for n, o in optimizers:
        training_step(n, o, example_inputs("mlp"))
        assert o.param_groups[0][WARMUP_STEPS_KEY] == 31
    assert has_same_parameters(network, other)
    _, plain = network_and_optimizer()
    plain.load_state_dict(optimizer.state_dict())  # a script without the remedy takes it too


@pytest.mark.parametrize("order", [("warmup", "adamw"), ("adamw", "warmup"), ("warmup", "clip-norm", "adamw")])
def test_factors_multiply_and_every_rate_is_restored(order: tuple[str, ...]) -> None:
    network, optimizer = network_and_optimizer()
    LambdaLR(optimizer, lambda t: 1.0)
    change = apply(network, *order, optimizer=optimizer, catalogue=CATALOGUE)
    rates: list[float] = []
    inner = type(optimizer).step

    def spy(hooked: Optimizer, args: Any, kwargs: Any) -> None:
        rates.append(float(hooked.param_groups[0]["lr"]))

    optimizer.register_step_pre_hook(spy)
    for _ in range(3):
        training_step(network, optimizer, example_inputs("mlp"))
        assert optimizer.param_groups[0]["lr"] == 0.1
    assert type(optimizer).step is inner
    length = 2000 if order.index("warmup") > 0 else 100
    assert rates == pytest.approx([1e-3 * t / length for t in (1, 2, 3)])
    change.undo()
    assert type(optimizer) is SGD


def test_the_rate_is_restored_after_a_step_that_raised() -> None:
    network, optimizer = network_and_optimizer()
    apply(network, "warmup", optimizer=optimizer, catalogue=CATALOGUE)

    def closure() -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    training_step(network, optimizer, example_inputs("mlp"))
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_tensor_learning_rate_stays_the_same_object() -> None:
    network = mlp()
    rate = torch.tensor(1e-3)
    optimizer = Adam(network.parameters(), lr=rate, foreach=False)
    apply(network, "warmup", optimizer=optimizer, catalogue=CATALOGUE)
    training_step(network, optimizer, example_inputs("mlp"))
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(1e-3)


def test_hooks_pickle_and_copy() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    for hook in (NormHook(1.0), AdaptiveHook(0.01, [weight]), WarmUpHook({0: 10}), ConstantRateFactor([0.1])):
        for copied in (pickle.loads(pickle.dumps(hook.before_step)), copy.deepcopy(hook.before_step)):
            parameter = nn.Parameter(torch.zeros(2))
            optimizer = SGD([parameter], lr=1.0)
            optimizer.register_step_pre_hook(copied)
            parameter.grad = torch.tensor([30.0, 40.0])
            optimizer.step()
            assert 0 < float(parameter.detach().norm()) < 50


def test_warm_up_keeps_adam_from_diverging_at_its_first_steps() -> None:
    first = []
    for treated in (False, True):
        network = deep_network(8, nn.Tanh, width=64)
        optimizer = Adam(network.parameters(), lr=0.03, betas=(0.9, 0.99))
        if treated:
            apply(network, "warmup", optimizer=optimizer, catalogue=CATALOGUE)
        first.append(loss_after_training(network, optimizer, steps=60))
    assert first[0] > 2.0
    assert first[1] < 1.8
