"""Traces through hooks, sparse gradients, autocast, compiled and scripted code, parametrisations, dropout, complex numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from autograd_oracle import log10_rms
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from unvanish.record.gradient_flow import GROUPINGS, GradientFlow
from unvanish.tracing import trace

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])
EXACT = 1e-10


def closed(flow: GradientFlow, within: float = EXACT) -> bool:
    return all(math.isclose(sum(flow.shares(by).values()), flow.total, rel_tol=0.0, abs_tol=within) for by in GROUPINGS)


def plain(*between: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), *between, nn.Linear(6, 3))


class Hooked(nn.Module):
    """A network with a hook of the user's on one of its tensors."""

    def __init__(self, where: str, hook: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.where, self.hook = nn.Linear(6, 6), nn.Linear(6, 3), where, hook

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        output = self.last(torch.tanh(hidden) + hidden if self.where == "used twice" else torch.tanh(hidden))
        {"input": x, "hidden": hidden, "used twice": hidden, "output": output}[self.where].register_hook(self.hook)
        return output


@pytest.mark.parametrize("where", ["input", "hidden", "used twice", "output"])
def test_hooks_on_tensors_act_and_have_their_share(where: str) -> None:
    x = X.double()
    without = trace(Hooked(where, lambda g: None).double(), x, Y)
    shrunk = trace(Hooked(where, lambda g: g * 1e-3).double(), x, Y)
    assert shrunk.total - without.total == pytest.approx(-3.0, abs=EXACT)
    assert shrunk.log10_source_rms == without.log10_source_rms
    assert closed(shrunk)
    difference = {name: share - without.shares("op").get(name, 0.0) for name, share in shrunk.shares("op").items()}
    origin = {"input": "(input)", "hidden": "first", "used twice": "first", "output": "last"}[where]
    term = f"interference after {origin}" if where == "used twice" else f"hook after {origin}"
    assert difference[term] == pytest.approx(-3.0, abs=EXACT)


def test_a_hook_that_clamps_does_what_it_does_in_training() -> None:
    def clamp(g: Tensor) -> Tensor:
        return g.clamp(-0.01, 0.01)

    model = Hooked("hidden", clamp).double()
    flow = trace(model, X.double(), Y)
    leaf = X.double().requires_grad_()
    F.cross_entropy(model(leaf), Y).backward()
    assert flow.log10_target_rms == pytest.approx(log10_rms(leaf.grad), abs=EXACT)
    assert closed(flow)


class OfTokens(nn.Module):
    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table, self.last = table, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        vectors = self.table(x)
        return self.last(vectors.mean(1) if vectors.dim() == 3 else vectors)


@pytest.mark.parametrize(
    "build",
    [lambda: nn.Embedding(9, 6, sparse=True), lambda: nn.Embedding(9, 6), lambda: nn.EmbeddingBag(9, 6)],
    ids=["sparse", "dense", "bag"],
)
def test_embeddings_end_the_flow_and_their_tables_have_gradients(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    tokens = torch.tensor([[0, 1, 1], [2, 3, 0], [1, 1, 1], [4, 5, 6]])
    model = OfTokens(build()).double()
    flow, to = trace(model, tokens, Y), trace(model, tokens, Y, to="table.weight")
    assert flow.target == "embedding table"
    assert closed(flow)
    assert closed(to)
    F.cross_entropy(model(tokens), Y).backward()
    gradient = model.table.weight.grad
    assert to.log10_target_rms == pytest.approx(log10_rms(gradient.to_dense()))


def test_autocast_regions_are_traced_in_the_dtypes_they_run_in() -> None:
    class Region(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = torch.tanh(self.inner(x))
            return self.last(hidden.float())

    model, leaf = Region(), X.clone().requires_grad_()
    flow = trace(model, X, Y)
    F.cross_entropy(model(leaf), Y).backward()
    assert flow.log10_target_rms == pytest.approx(log10_rms(leaf.grad), abs=1e-6)
    assert closed(flow)


@pytest.fixture(scope="module")
def compiled() -> tuple[nn.Module, nn.Module]:
    """A compiled network and the network inside; compiled before any test is watched, since torch then wraps modules for good."""
    model = plain(nn.Tanh())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = torch.compile(model, backend="eager")
        wrapped(X)
    return wrapped, model


def test_a_compiled_network_is_traced_as_the_network_inside(compiled: tuple[nn.Module, nn.Module]) -> None:
    wrapped, model = compiled
    assert trace(wrapped, X, Y) == trace(model, X, Y)
    assert trace(wrapped, X, Y, to="0.weight") == trace(model, X, Y, to="0.weight")


def test_a_compiled_part_is_traced_operation_by_operation(compiled: tuple[nn.Module, nn.Module]) -> None:
    model = nn.Sequential(compiled[0], nn.Linear(3, 3))
    flow = trace(model, X, Y)
    assert [op.op for op in flow.ops] == ["linear", "tanh", "linear", "linear"]
    assert closed(flow)


def test_a_compiled_network_runs_compiled_again_afterwards(compiled: tuple[nn.Module, nn.Module]) -> None:
    before = compiled[0](X)
    trace(compiled[0], X, Y)
    assert torch.equal(compiled[0](X), before)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_scripted_parts_are_found_in_the_graph() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    outer = [nn.Linear(6, 6), nn.Linear(6, 3)]
    eager = trace(nn.Sequential(outer[0], inner, outer[1]).double(), X.double(), Y)
    flow = trace(nn.Sequential(outer[0], torch.jit.script(inner), outer[1]), X.double(), Y)
    assert flow.total == pytest.approx(eager.total, abs=EXACT)
    assert flow.shares("module")["1"] == pytest.approx(eager.shares("module")["1.0"] + eager.shares("module")["1.1"], abs=EXACT)
    assert {"1:linear", "1:tanh"} <= set(flow.shares("op"))


@pytest.mark.parametrize("parametrise", [parametrizations.spectral_norm, parametrizations.weight_norm, parametrizations.orthogonal])
def test_parametrised_layers_add_up_to_the_input_and_to_what_is_behind_the_weight(
    parametrise: Callable[[nn.Module], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(parametrise(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 3)).double()
    x = X.double()
    behind = next(name for name, _ in model.named_parameters() if "original" in name)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    flow, to = trace(model, x, Y), trace(model, x, Y, to=behind)
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    leaf = x.clone().requires_grad_()
    F.cross_entropy(model(leaf), Y).backward()
    assert flow.log10_target_rms == pytest.approx(log10_rms(leaf.grad), abs=EXACT)
    assert to.log10_target_rms == pytest.approx(log10_rms(model.get_parameter(behind).grad), abs=EXACT)
    assert closed(flow)
    assert closed(to)


def test_a_data_parallel_network_is_traced_as_the_network_inside() -> None:
    model = plain(nn.Tanh())
    flow = trace(nn.DataParallel(model), X, Y, to="0.weight")
    assert flow == trace(model, X, Y, to="0.weight")
    assert [op.label for op in flow.ops] == ["0", "1", "2"]


def test_dropout_is_traced_with_the_mask_that_would_be_drawn_next() -> None:
    model = plain(nn.Dropout(0.5))
    torch.manual_seed(7)
    flow = trace(model, X, Y)
    leaf = X.clone().requires_grad_()
    F.cross_entropy(model(leaf), Y).backward()  # the same draw: the trace has used none up
    assert flow.log10_target_rms == pytest.approx(log10_rms(leaf.grad), abs=1e-6)
    model.eval()
    assert trace(model, X, Y).shares("op").get("1", 0.0) == 0.0


def test_complex_numbers_add_up() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 3, dtype=torch.complex128)
    x = torch.randn(4, 6, dtype=torch.complex128)
    leaf = x.clone().requires_grad_()
    model(leaf).abs().sum().backward()
    flow = trace(model, x, lambda outputs: outputs.abs().sum())
    assert flow.log10_target_rms == pytest.approx(0.5 * math.log10(float(leaf.grad.abs().square().mean())), abs=EXACT)
    assert closed(flow)


def test_a_fourier_transform_adds_up() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.irfft(torch.fft.rfft(x) * 0.5).square()

    flow = trace(Spectrum(), X.double(), Tensor.sum)
    leaf = X.double().requires_grad_()
    Spectrum()(leaf).sum().backward()
    assert flow.log10_target_rms == pytest.approx(log10_rms(leaf.grad), abs=EXACT)
    assert closed(flow)


def test_outputs_of_any_structure_are_accepted() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> tuple[None, Tensor, list[object]]:
            return None, self.first(x), [1, "word", {"again": x}]

    assert closed(trace(Several().double(), X.double(), lambda outputs: outputs[1].square().sum() + outputs[2][2]["again"].sum()))


def test_a_network_that_does_nothing_loses_nothing() -> None:
    flow = trace(nn.Identity(), X, Tensor.sum)
    assert flow.total == 0.0
    assert sum(flow.shares().values()) == 0.0
