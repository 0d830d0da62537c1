"""loss-scaling: gradients that float16 would lose, against float64, and the true size of every gradient outside the network."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from digits import deep_network, digits
from optimisation_remedies import CATALOGUE
from optimizer_state import state_with_hooks
from remedy_networks import mlp
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.checkpoint import checkpoint

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.hooks.loss_scaling import GROWTH_INTERVAL, INITIAL_SCALE, MAX_SCALE, SkipOverflowedSteps
from unvanish.remedies.hooks.loss_scaling import LossScaling as Hook


def half() -> Any:
    return torch.autocast("cpu", dtype=torch.float16)


def apply_loss_scaling(network: nn.Module, optimizer: Optimizer | list[Optimizer]) -> Any:
    return apply(network, "loss-scaling", optimizer=optimizer, catalogue=CATALOGUE)


def scaling_hook_of(network: nn.Module) -> Hook:
    (hook,) = vars(network)["_forward_hooks"].values()
    return hook.__self__


def with_hooks(network: nn.Module) -> nn.Module:
    """The network with the hooks of loss scaling, without an optimizer."""
    hook = Hook(low_precision=(torch.float16, torch.float64))
    network.register_forward_pre_hook(hook.before_forward, with_kwargs=True)
    network.register_forward_hook(hook.after_forward, with_kwargs=True)
    return network


def batch(rows: int = 64) -> Tensor:
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))


def gradients(network: nn.Module, factor: float, **changes: Any) -> list[Tensor]:
    """The gradients of a small loss, under autocast where the network is in float32."""
    network.zero_grad()
    dtype = next(network.parameters()).dtype
    if dtype is torch.float32:
        with half():
            out = network(batch())
    else:
        out = network(batch().to(dtype))
    out.to(torch.promote_types(dtype, torch.float32)).square().mean().mul(factor).backward(**changes)
    return [p.grad for p in network.parameters() if p.grad is not None]


def relative_error(computed: list[Tensor], true: list[Tensor]) -> float:
    """The largest relative error of a gradient."""
    return max(float((a.double() - b).norm() / b.norm()) for a, b in zip(computed, true, strict=True))


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e-6])
def test_gradients_that_would_underflow_inside_the_network_arrive(factor: float) -> None:
    network = deep_network(4, nn.Tanh)
    true = gradients(copy.deepcopy(network).double(), factor)
    lost = relative_error(gradients(network, factor), true)
    apply_loss_scaling(network, SGD(network.parameters(), lr=0.1))
    for _ in range(8):  # until the factor has come down to what fits
        kept = relative_error(gradients(network, factor), true)
    assert kept < 0.01
    if factor < 1e-5:
        assert lost > 0.5
        assert float(scaling_hook_of(network).scale) >= 2.0**14


def test_float16_parameters_get_gradients_as_exact_as_float16_can_hold() -> None:
    network = deep_network(6, nn.Tanh).half()
    true = gradients(copy.deepcopy(network).double(), 2e-3)
    lost = [g.clone() for g in gradients(network, 2e-3)]
    apply(network, "loss-scaling", optimizer=SGD(network.parameters(), lr=0.1), catalogue=CATALOGUE)
    kept = gradients(network, 2e-3)
    assert network(batch().half()).dtype is torch.float16
    smallest = 2.0**-24
    for before, after, exact in zip(lost, kept, true, strict=True):
        largest = float(exact.abs().max())
        assert float((after.double() - exact).abs().max()) < smallest + 0.06 * largest
        if exact is true[0]:
            assert float((before.double() - exact).norm()) > 5 * float((after.double() - exact).norm())


def test_a_network_whose_gradients_all_underflow_learns() -> None:
    pixels, labels = digits()
    final_losses = []
    for treated in (False, True):
        network = deep_network(4, nn.Tanh)
        optimizer = Adam(network.parameters(), lr=3e-3, eps=1e-15)
        if treated:
            apply_loss_scaling(network, optimizer)
        order = torch.Generator().manual_seed(0)
        for _ in range(60):
            rows = torch.randperm(len(pixels), generator=order)[:64]
            optimizer.zero_grad()
            with half():
                out = network(pixels[rows])
            (nn.functional.cross_entropy(out.float(), labels[rows]) * 1e-6).backward()
            optimizer.step()
        with torch.no_grad():
            final_losses.append(float(nn.functional.cross_entropy(network(pixels), labels)))
    assert final_losses[0] > 2.0  # nothing but the last layer learns
    assert final_losses[1] < 1.0


def test_in_float64_gradients_are_the_same_to_rounding() -> None:
    network = deep_network(3, nn.Tanh).double()
    exact = gradients(network, 1.0)
    exact = [g.clone() for g in exact]
    with_hooks(network)
    assert relative_error(gradients(network, 1.0), exact) < 1e-14
    assert relative_error(gradients(network, 1.0, retain_graph=True), exact) < 1e-14


def test_penalties_features_and_other_networks_have_true_gradients() -> None:
    class Featured(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(64, 8), nn.Linear(8, 3)
            self.features: Tensor | None = None

        def forward(self, x: Tensor, *, flip: Tensor) -> dict[str, Any]:
            self.features = torch.tanh(self.body(x))
            return {"out": self.head(self.features) * flip, "more": [self.features.mean(), "text"], "given": x}

    torch.manual_seed(0)
    network, before = Featured().double(), nn.Linear(64, 64).double()
    flip = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    x = batch().double()
    results = []
    for treated in (False, True):
        if treated:
            with_hooks(network)
        for p in (*network.parameters(), *before.parameters(), flip):
            p.grad = None
        hidden_input = before(x)
        hidden_input.retain_grad()
        out = network(hidden_input, flip=flip)
        assert network.features is not None
        penalty = 0.1 * network.body.weight.square().sum() + network.features.pow(4).sum() + out["more"][0] + out["given"].sum()
        (out["out"].square().sum() + penalty).backward()
        assert out["more"][1] == "text"
        results.append([t.grad.clone() for t in (*network.parameters(), *before.parameters(), flip, hidden_input)])
    assert relative_error(results[1], results[0]) < 1e-13


def test_hooks_of_parameters_and_inputs_are_called_once_with_the_true_gradient() -> None:
    network = deep_network(2, nn.Tanh).double()
    x = batch(4).double().requires_grad_()
    seen_gradients: list[list[Tensor]] = []
    for treated in (False, True):
        if treated:
            with_hooks(network)
        seen_gradients.append([])
        handles = [
            t.register_hook(lambda g: seen_gradients[-1].append(g) or g.clamp(-1e-3, 1e-3)) for t in (x, *network.parameters())
        ]
        network.zero_grad()
        network(x).square().sum().backward()
        for handle in handles:
            handle.remove()
        assert max(float(p.grad.abs().max()) for p in network.parameters()) == 1e-3
    assert len(seen_gradients[0]) == len(seen_gradients[1]) == 7
    first, second = (sorted(grads, key=lambda g: float(g.norm())) for grads in seen_gradients)
    assert relative_error(second, first) < 1e-12


def test_gradients_of_gradients_are_true() -> None:
    network = deep_network(2, nn.Tanh).double()
    x = batch(4).double().requires_grad_()
    results = []
    for treated in (False, True):
        if treated:
            with_hooks(network)
        network.zero_grad()
        (slope,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        (slope.norm() - 1).square().backward()
        results.append([p.grad.clone() for p in network.parameters()])
    assert relative_error(results[1], results[0]) < 1e-12


def test_checkpoints_and_accumulation_work() -> None:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = deep_network(3, nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.net, x, use_reentrant=False)

    network = Saving().double()
    single = [g.clone() for g in gradients(network, 1.0)]
    with_hooks(network)
    gradients(network, 1.0)
    network(batch().double()).square().mean().backward()
    assert relative_error([p.grad for p in network.parameters()], [2 * g for g in single]) < 1e-13


def test_a_step_after_an_overflow_is_skipped_and_the_factor_halves() -> None:
    network = deep_network(2, nn.Tanh)
    optimizer = Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    apply_loss_scaling(network, optimizer)
    before = [p.detach().clone() for p in network.parameters()]
    with half():
        out = network(batch())
    assert out.dtype is torch.float32
    (out.float().sum() * 1e4).backward()
    (out.detach().float().sum() * 0 + sum(p.sum() for p in network.parameters())).backward()
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in network.parameters())  # the pass that overflowed counts as zero
    assert not optimizer.state
    assert float(scaling_hook_of(network).scale) == INITIAL_SCALE / 2
    gradients(network, 1e-3)
    optimizer.step()
    assert all(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def test_each_optimizer_skips_its_own_step() -> None:
    network = deep_network(2, nn.Tanh)
    optimizers = [SGD(network[0].parameters(), lr=0.1), SGD(network[2:].parameters(), lr=0.1)]
    apply_loss_scaling(network, list(optimizers))
    before = [p.detach().clone() for p in network.parameters()]
    for factor, moves in ((1e6, False), (1e-3, True)):
        gradients(network, factor)
        for optimizer in optimizers:
            optimizer.step()
        assert any(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True)) is moves


def test_the_factor_grows_after_good_passes_up_to_a_bound_and_never_below_one() -> None:
    hook = Hook()
    good, bad = torch.tensor(False), torch.tensor(True)
    for _ in range(GROWTH_INTERVAL - 1):
        hook.update_scale(good)
    assert float(hook.scale) == INITIAL_SCALE
    hook.update_scale(good)
    assert float(hook.scale) == 2 * INITIAL_SCALE
    for _ in range(GROWTH_INTERVAL - 1):
        hook.update_scale(good)
    hook.update_scale(bad)
    hook.update_scale(good)
    assert float(hook.scale) == INITIAL_SCALE
    for _ in range(40):
        hook.update_scale(bad)
    assert float(hook.scale) == 1.0
    hook.scale.fill_(MAX_SCALE)
    for _ in range(GROWTH_INTERVAL):
        hook.update_scale(good)
    assert float(hook.scale) == MAX_SCALE
    assert int(hook.overflows) == 41


def test_evaluation_is_untouched() -> None:
    network = deep_network(2, nn.Tanh)
    expected = network(batch()).detach()
    apply_loss_scaling(network, SGD(network.parameters(), lr=0.1))
    with torch.no_grad():
        out = network(batch())
    assert out.grad_fn is None
    assert torch.equal(out, expected)
    network.requires_grad_(False)
    assert not network(batch()).requires_grad


def test_undo_removes_the_hooks() -> None:
    network = deep_network(2, nn.Tanh)
    optimizer = SGD(network.parameters(), lr=0.1, momentum=0.9)
    gradients(network, 1.0)
    optimizer.step()
    before = state_with_hooks(network, optimizer)
    change = apply_loss_scaling(network, optimizer)
    gradients(network, 1.0)
    optimizer.step()
    change.undo()
    assert state_with_hooks(network, optimizer) == before


def test_copies_and_pickles_have_a_factor_of_their_own() -> None:
    network = deep_network(2, nn.Tanh)
    apply_loss_scaling(network, SGD(network.parameters(), lr=0.1))
    stream = io.BytesIO()
    torch.save(network, stream)
    stream.seek(0)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), torch.load(stream, weights_only=False)):
        zeroed = gradients(copied, 1e6)
        assert all(not g.any() for g in zeroed)  # it overflowed
        assert scaling_hook_of(copied) is not scaling_hook_of(network)
        assert float(scaling_hook_of(copied).scale) == INITIAL_SCALE / 2
    assert float(scaling_hook_of(network).scale) == INITIAL_SCALE
    assert isinstance(pickle.loads(pickle.dumps(SkipOverflowedSteps(scaling_hook_of(network)))), SkipOverflowedSteps)


@pytest.fixture(scope="module")
def compiler() -> None:
    """Runs torch's compiler once, since it wraps nn.Module.__init__ for good when it first compiles."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which torch's own compiler hides, unless it is an error
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_has_the_same_gradients(backend: str) -> None:
    network = deep_network(2, nn.Tanh).double()
    exact = [g.clone() for g in gradients(network, 1.0)]
    with_hooks(network)
    compiled = torch.compile(network, backend=backend)
    for _ in range(2):
        assert relative_error(gradients(compiled, 1.0), exact) < 1e-13
    torch._dynamo.reset()


@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16])
def test_passes_without_float16_stay_as_they_are(own: torch.dtype) -> None:
    network = deep_network(2, nn.Tanh)
    apply_loss_scaling(network, SGD(network.parameters(), lr=0.1))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=own is torch.bfloat16):
        out = network(batch())
    assert out.dtype is own
    assert "ScaledBackward" not in out.grad_fn.name()


def test_float16_inside_the_networks_own_forward_is_found() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = deep_network(3, nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            with half():
                return self.net(x).float()

    network = Inside()
    true = [g.clone() for g in gradients(copy.deepcopy(network.net).double(), 1e-6)]
    apply_loss_scaling(network, SGD(network.parameters(), lr=0.1))
    for _ in range(8):
        network.zero_grad()
        network(batch()).square().mean().mul(1e-6).backward()
    assert relative_error([p.grad for p in network.parameters()], true) < 0.01


def test_it_is_refused_where_nothing_can_be_float16_or_gradients_are_scaled_already() -> None:
    for network in (mlp().double(), mlp().bfloat16()):
        with pytest.raises(NotApplicable, match="nothing of Sequential will be in float16"):
            apply_loss_scaling(network, SGD(network.parameters(), lr=0.1))
    network = mlp()
    optimizer = SGD(network.parameters(), lr=0.1)
    apply_loss_scaling(network, optimizer)
    with pytest.raises(NotApplicable, match="scaled so already"):
        apply_loss_scaling(network, optimizer)
