"""loss-scaling: gradients that float16 would lose, against float64; and that all who read a gradient see its true size."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from digits import chain, digits
from optimisation_remedies import SHELF
from optimizer_state import whole
from remedy_networks import mlp
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.checkpoint import checkpoint

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.hooks.loss_scaling import MOST, PATIENCE, START, DropOverflow
from unvanish.remedies.hooks.loss_scaling import LossScaling as Hook


def half() -> Any:
    return torch.autocast("cpu", dtype=torch.float16)


def treat(network: nn.Module, optimizer: Optimizer | list[Optimizer]) -> Any:
    return apply(network, "loss-scaling", optimizer=optimizer, catalogue=SHELF)


def keeper_of(network: nn.Module) -> Hook:
    (hook,) = vars(network)["_forward_hooks"].values()
    return hook.__self__


def scaled(network: nn.Module) -> nn.Module:
    """The network with the hooks, without an optimizer."""
    hook = Hook(narrow=(torch.float16, torch.float64))
    network.register_forward_pre_hook(hook.before_forward, with_kwargs=True)
    network.register_forward_hook(hook.after_forward, with_kwargs=True)
    return network


def batch(rows: int = 64) -> Tensor:
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))


def gradients(network: nn.Module, factor: float, **changes: Any) -> list[Tensor]:
    """The gradients of a small loss, under autocast where the network is in float32."""
    network.zero_grad()
    own = next(network.parameters()).dtype
    if own is torch.float32:
        with half():
            out = network(batch())
    else:
        out = network(batch().to(own))
    out.to(torch.promote_types(own, torch.float32)).square().mean().mul(factor).backward(**changes)
    return [p.grad for p in network.parameters() if p.grad is not None]


def apart(found: list[Tensor], true: list[Tensor]) -> float:
    """The largest relative distance of a gradient from the true one."""
    return max(float((a.double() - b).norm() / b.norm()) for a, b in zip(found, true, strict=True))


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e-6])
def test_gradients_that_underflow_on_their_way_arrive(factor: float) -> None:
    network = chain(4, nn.Tanh)
    true = gradients(copy.deepcopy(network).double(), factor)
    lost = apart(gradients(network, factor), true)
    treat(network, SGD(network.parameters(), lr=0.1))
    for _ in range(8):  # until the factor has come down to what fits
        kept = apart(gradients(network, factor), true)
    assert kept < 0.01
    if factor < 1e-5:
        assert lost > 0.5
        assert float(keeper_of(network).scale) >= 2.0**14


def test_parameters_in_float16_get_what_their_own_type_can_hold() -> None:
    network = chain(6, nn.Tanh).half()
    true = gradients(copy.deepcopy(network).double(), 2e-3)
    lost = [g.clone() for g in gradients(network, 2e-3)]
    apply(network, "loss-scaling", optimizer=SGD(network.parameters(), lr=0.1), catalogue=SHELF)
    kept = gradients(network, 2e-3)
    assert network(batch().half()).dtype is torch.float16
    smallest = 2.0**-24
    for before, after, exact in zip(lost, kept, true, strict=True):
        largest = float(exact.abs().max())
        assert float((after.double() - exact).abs().max()) < smallest + 0.06 * largest
        if exact is true[0]:
            assert float((before.double() - exact).norm()) > 5 * float((after.double() - exact).norm())


def test_a_network_learns_whose_gradients_all_underflow() -> None:
    pixels, labels = digits()
    ends = []
    for treated in (False, True):
        network = chain(4, nn.Tanh)
        optimizer = Adam(network.parameters(), lr=3e-3, eps=1e-15)
        if treated:
            treat(network, optimizer)
        order = torch.Generator().manual_seed(0)
        for _ in range(60):
            rows = torch.randperm(len(pixels), generator=order)[:64]
            optimizer.zero_grad()
            with half():
                out = network(pixels[rows])
            (nn.functional.cross_entropy(out.float(), labels[rows]) * 1e-6).backward()
            optimizer.step()
        with torch.no_grad():
            ends.append(float(nn.functional.cross_entropy(network(pixels), labels)))
    assert ends[0] > 2.0  # nothing but the last layer learns
    assert ends[1] < 1.0


def test_in_wide_types_the_gradient_is_the_same_to_the_last_bits() -> None:
    network = chain(3, nn.Tanh).double()
    exact = gradients(network, 1.0)
    exact = [g.clone() for g in exact]
    scaled(network)
    assert apart(gradients(network, 1.0), exact) < 1e-14
    assert apart(gradients(network, 1.0, retain_graph=True), exact) < 1e-14


def test_penalties_features_and_other_networks_see_true_gradients() -> None:
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
            scaled(network)
        for p in (*network.parameters(), *before.parameters(), flip):
            p.grad = None
        made = before(x)
        made.retain_grad()
        out = network(made, flip=flip)
        assert network.features is not None
        penalty = 0.1 * network.body.weight.square().sum() + network.features.pow(4).sum() + out["more"][0] + out["given"].sum()
        (out["out"].square().sum() + penalty).backward()
        assert out["more"][1] == "text"
        results.append([t.grad.clone() for t in (*network.parameters(), *before.parameters(), flip, made)])
    assert apart(results[1], results[0]) < 1e-13


def test_hooks_of_parameters_and_inputs_are_called_once_with_the_true_gradient() -> None:
    network = chain(2, nn.Tanh).double()
    x = batch(4).double().requires_grad_()
    seen: list[list[Tensor]] = []
    for treated in (False, True):
        if treated:
            scaled(network)
        seen.append([])
        handles = [t.register_hook(lambda g: seen[-1].append(g) or g.clamp(-1e-3, 1e-3)) for t in (x, *network.parameters())]
        network.zero_grad()
        network(x).square().sum().backward()
        for handle in handles:
            handle.remove()
        assert max(float(p.grad.abs().max()) for p in network.parameters()) == 1e-3
    assert len(seen[0]) == len(seen[1]) == 7
    first, second = (sorted(grads, key=lambda g: float(g.norm())) for grads in seen)
    assert apart(second, first) < 1e-12


def test_gradients_of_gradients_are_true() -> None:
    network = chain(2, nn.Tanh).double()
    x = batch(4).double().requires_grad_()
    results = []
    for treated in (False, True):
        if treated:
            scaled(network)
        network.zero_grad()
        (slope,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        (slope.norm() - 1).square().backward()
        results.append([p.grad.clone() for p in network.parameters()])
    assert apart(results[1], results[0]) < 1e-12


def test_checkpoints_and_accumulation_work() -> None:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = chain(3, nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.net, x, use_reentrant=False)

    network = Saving().double()
    single = [g.clone() for g in gradients(network, 1.0)]
    scaled(network)
    gradients(network, 1.0)
    network(batch().double()).square().mean().backward()
    assert apart([p.grad for p in network.parameters()], [2 * g for g in single]) < 1e-13


def test_a_step_after_an_overflow_is_passed_over_and_the_factor_halves() -> None:
    network = chain(2, nn.Tanh)
    optimizer = Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    treat(network, optimizer)
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
    assert float(keeper_of(network).scale) == START / 2
    gradients(network, 1e-3)
    optimizer.step()
    assert all(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def test_each_optimizer_passes_over_its_own_step() -> None:
    network = chain(2, nn.Tanh)
    optimizers = [SGD(network[0].parameters(), lr=0.1), SGD(network[2:].parameters(), lr=0.1)]
    treat(network, list(optimizers))
    before = [p.detach().clone() for p in network.parameters()]
    for factor, moves in ((1e6, False), (1e-3, True)):
        gradients(network, factor)
        for optimizer in optimizers:
            optimizer.step()
        assert any(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True)) is moves


def test_the_factor_grows_after_good_passes_up_to_a_bound_and_never_below_one() -> None:
    hook = Hook()
    good, bad = torch.tensor(False), torch.tensor(True)
    for _ in range(PATIENCE - 1):
        hook.judge(good)
    assert float(hook.scale) == START
    hook.judge(good)
    assert float(hook.scale) == 2 * START
    for _ in range(PATIENCE - 1):
        hook.judge(good)
    hook.judge(bad)
    hook.judge(good)
    assert float(hook.scale) == START
    for _ in range(40):
        hook.judge(bad)
    assert float(hook.scale) == 1.0
    hook.scale.fill_(MOST)
    for _ in range(PATIENCE):
        hook.judge(good)
    assert float(hook.scale) == MOST
    assert int(hook.overflows) == 41


def test_evaluation_is_untouched() -> None:
    network = chain(2, nn.Tanh)
    expected = network(batch()).detach()
    treat(network, SGD(network.parameters(), lr=0.1))
    with torch.no_grad():
        out = network(batch())
    assert out.grad_fn is None
    assert torch.equal(out, expected)
    network.requires_grad_(False)
    assert not network(batch()).requires_grad


def test_undo_takes_the_hooks_away() -> None:
    network = chain(2, nn.Tanh)
    optimizer = SGD(network.parameters(), lr=0.1, momentum=0.9)
    gradients(network, 1.0)
    optimizer.step()
    before = whole(network, optimizer)
    change = treat(network, optimizer)
    gradients(network, 1.0)
    optimizer.step()
    change.undo()
    assert whole(network, optimizer) == before


def test_copies_and_pickles_go_on_alone() -> None:
    network = chain(2, nn.Tanh)
    treat(network, SGD(network.parameters(), lr=0.1))
    stream = io.BytesIO()
    torch.save(network, stream)
    stream.seek(0)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), torch.load(stream, weights_only=False)):
        found = gradients(twin, 1e6)
        assert all(not g.any() for g in found)  # it overflowed
        assert keeper_of(twin) is not keeper_of(network)
        assert float(keeper_of(twin).scale) == START / 2
    assert float(keeper_of(network).scale) == START
    assert isinstance(pickle.loads(pickle.dumps(DropOverflow(keeper_of(network)))), DropOverflow)


@pytest.fixture(scope="module")
def compiler() -> None:
    """Torch's compiler, which wraps nn.Module.__init__ for good when it first compiles: before anything is watched."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which torch's own compiler hides, unless it is an error
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_has_the_same_gradients(backend: str) -> None:
    network = chain(2, nn.Tanh).double()
    exact = [g.clone() for g in gradients(network, 1.0)]
    scaled(network)
    compiled = torch.compile(network, backend=backend)
    for _ in range(2):
        assert apart(gradients(compiled, 1.0), exact) < 1e-13
    torch._dynamo.reset()


@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16])
def test_passes_without_float16_stay_as_they_are(own: torch.dtype) -> None:
    network = chain(2, nn.Tanh)
    treat(network, SGD(network.parameters(), lr=0.1))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=own is torch.bfloat16):
        out = network(batch())
    assert out.dtype is own
    assert "Enlarged" not in out.grad_fn.name()


def test_float16_inside_the_networks_own_forward_is_found() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = chain(3, nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            with half():
                return self.net(x).float()

    network = Inside()
    true = [g.clone() for g in gradients(copy.deepcopy(network.net).double(), 1e-6)]
    treat(network, SGD(network.parameters(), lr=0.1))
    for _ in range(8):
        network.zero_grad()
        network(batch()).square().mean().mul(1e-6).backward()
    assert apart([p.grad for p in network.parameters()], true) < 0.01


def test_where_nothing_can_be_in_float16_or_it_is_scaled_it_says_so() -> None:
    for network in (mlp().double(), mlp().bfloat16()):
        with pytest.raises(NotApplicable, match="nothing of Sequential will be in float16"):
            treat(network, SGD(network.parameters(), lr=0.1))
    network = mlp()
    optimizer = SGD(network.parameters(), lr=0.1)
    treat(network, optimizer)
    with pytest.raises(NotApplicable, match="scaled so already"):
        treat(network, optimizer)
