"""Tests of standardise-input: its statistics against numpy, where it is inserted, and how training improves."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from digits import deep_network, digits, loss_after_training
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_state import state_with_hooks
from remedy_networks import Branching, Functional, Sequences, Tied, build_network, example_inputs, mlp, training_step
from state_of_network import random_state
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import SGD, Adam

from unvanish.docgen.cards import parse_class_card
from unvanish.errors import NotApplicable
from unvanish.remedies import Context, apply
from unvanish.remedies.catalogue.data_output.standardise_input import StandardiseInput
from unvanish.remedies.layers.standardise import MAX_EXAMPLES, Standardise

CATALOGUE = {"standardise-input": StandardiseInput()}
SHAPES = {
    "features": ((300, 5), -1),
    "time": ((40, 7, 5), -1),
    "signal": ((40, 5, 9), -2),
    "image": ((20, 5, 6, 4), -3),
    "volume": ((10, 5, 3, 4, 2), -4),
}


def raw(shape: tuple[int, ...], axis: int, dtype: Any = np.float64) -> Any:
    """Numbers whose features differ in place and size, the last of them constant."""
    numbers = np.random.default_rng(0).normal(size=shape)
    form = (5, *[1] * (-1 - axis))
    size, place = np.array([1e-2, 1.0, 30.0, 5.0, 0.0]).reshape(form), np.array([0.0, -3.0, 100.0, 1e3, 0.37]).reshape(form)
    return (numbers * size + place).astype(dtype)


def treated(network: nn.Module, **arguments: Any) -> Any:
    return apply(network, "standardise-input", catalogue=CATALOGUE, **arguments)


# The module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_of_several_batches_are_those_of_all_rows_together(shape: str, dtype: torch.dtype) -> None:
    form, axis = SHAPES[shape]
    numbers = raw(form, axis)
    module = Standardise(5, axis=axis).to(dtype).train()
    rows = torch.tensor(numbers, dtype=dtype)
    for part in rows.split([1, 2, len(rows) // 2, len(rows) - 3 - len(rows) // 2]):
        module(part)
    others = tuple(at for at in range(len(form)) if at != len(form) + axis)
    tolerance = 1e-12 if dtype is torch.float64 else 2e-5
    assert module.mean.numpy() == pytest.approx(numbers.mean(others), rel=tolerance)
    assert module.deviation.numpy()[:4] == pytest.approx(numbers.std(others)[:4], rel=max(tolerance, 1e-12) * 10)
    assert float(module.deviation[4]) == 0.0
    assert int(module.examples) == form[0]
    assert int(module.values) == numbers.size // 5
    out = module.eval()(rows).numpy()
    assert out.mean(others)[:4] == pytest.approx(0.0, abs=1e-3)
    assert out.std(others)[:4] == pytest.approx(1.0, rel=1e-3)
    assert np.abs(out[(slice(None),) * (len(form) + axis) + (4,)]).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=5),
    place=st.floats(-1e3, 1e3),
    size=st.floats(1e-3, 1e3),
    seed=st.integers(0, 9),
)
def test_statistics_do_not_depend_on_the_batch_size(cuts: list[int], place: float, size: float, seed: int) -> None:
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * size + place
    whole_batch, parts = Standardise(3).to(torch.float64), Standardise(3).to(torch.float64)
    whole_batch(rows)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        parts(rows[start:end])
    assert torch.allclose(whole_batch.mean, parts.mean, rtol=1e-10, atol=1e-10 * size)
    assert torch.allclose(whole_batch.deviation, parts.deviation, rtol=1e-7)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_summed_in_wider_numbers(kind: torch.dtype) -> None:
    rows = torch.tensor(raw((500, 5), -1)).to(kind)
    module = Standardise(5)
    out = module(rows)
    assert out.dtype is kind
    exact = rows.double().numpy()
    assert module.mean.numpy() == pytest.approx(exact.mean(0), rel=1e-5)
    assert module.deviation.numpy()[:4] == pytest.approx(exact.std(0)[:4], rel=1e-3)
    narrow = Standardise(5).to(kind)
    for part in rows.split(100):
        assert torch.isfinite(narrow(part)).all()
    assert float(narrow.deviation[4]) == 0.0
    assert narrow.mean.float().numpy() == pytest.approx(exact.mean(0), rel=0.05, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(value=st.floats(-1e6, 1e6, width=32), rows=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_a_constant_feature_is_only_centred(value: float, rows: list[int]) -> None:
    module = Standardise(1)
    for count in rows:
        out = module(torch.full((count, 1), value))
        assert float(module.deviation) == 0.0
        assert float(out.abs().max()) <= 1e-5 * abs(value)


def test_statistics_stay_after_enough_examples_and_in_evaluation() -> None:
    module = Standardise(2)
    rows = torch.randn(MAX_EXAMPLES - 100, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module.eval()(rows), rows)
    assert int(module.values) == 0
    module.train()
    module(rows)
    module(rows[:200])  # reaches it
    before = module.mean.clone()
    module(rows + 100)
    assert torch.equal(module.mean, before)
    assert int(module.examples) == MAX_EXAMPLES + 100
    fresh = Standardise(2)
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(rows), module(rows))
    fresh(rows + 100)
    assert torch.equal(fresh.mean, before)


def test_batches_that_are_empty_or_not_finite_are_left_out() -> None:
    module = Standardise(2)
    module(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    before = copy.deepcopy(module.state_dict())
    module(torch.zeros(0, 2))
    module(torch.tensor([[1.0, float("nan")], [3.0, 6.0]]))
    module(torch.tensor([[1.0, float("inf")], [3.0, 6.0]]))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_one_example_without_a_batch_counts_as_one() -> None:
    module = Standardise(3, axis=-3)
    module(torch.randn(3, 4, 4))
    assert (int(module.examples), int(module.values)) == (1, 16)


def test_two_forward_passes_before_one_backward_pass_work() -> None:
    network = nn.Sequential(Standardise(3), nn.Linear(3, 2))
    x = torch.randn(8, 3, requires_grad=True)
    (network(x).sum() + network(x * 2).sum()).backward()
    assert x.grad is not None


@pytest.fixture(scope="module")
def compiler() -> None:
    """Torch's compiler, which wraps nn.Module.__init__ for good when it first compiles: before anything is watched."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_module_gathers_the_same_statistics(backend: str) -> None:
    plain, module = Standardise(3), Standardise(3)
    compiled = torch.compile(module, backend=backend)
    for seed in range(6):
        rows = torch.randn(256, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        assert torch.allclose(compiled(rows), plain(rows), atol=1e-6)
    assert torch.allclose(module.mean, plain.mean)
    assert int(module.examples) == MAX_EXAMPLES
    torch._dynamo.reset()


# The remedy


def test_the_card_is_complete() -> None:
    card = parse_class_card(StandardiseInput())
    assert [section.heading for section in card.sections] == ["Does", "Helps", "Harms", "Cost", "References"]


PLACES = {
    "mlp": ["0"],
    "nested": ["stem.0"],
    "module list": ["layers.0"],
    "shared activation": ["fc1"],
    "tied weights": ["one"],
    "cnn": ["0"],
    "functional": ["fc1"],
    "gated": ["fc1"],
}


@pytest.mark.parametrize("with_inputs", [False, True])
@pytest.mark.parametrize("kind", PLACES)
def test_it_is_inserted_before_the_first_layer_and_undo_removes_it(kind: str, with_inputs: bool) -> None:
    network = build_network(kind)
    optimizer = Adam(network.parameters())
    training_step(network, optimizer, example_inputs(kind))
    before, random_before = state_with_hooks(network, optimizer), random_state()
    arguments = {"inputs": example_inputs(kind) * 9 + 4} if with_inputs else {}
    StandardiseInput().plan(network, Context(torch.Generator(), (optimizer,), arguments.get("inputs")))
    assert state_with_hooks(network, optimizer) == before
    change = treated(network, optimizer=optimizer, **arguments)
    assert [edit.path for edit in change.edits] == PLACES[kind]
    assert change.edits[0].after.startswith("Standardise(")
    assert random_state() == random_before
    training_step(network, optimizer, example_inputs(kind) * 9 + 4)
    (module,) = [m for m in network.modules() if isinstance(m, Standardise)]
    rows = (example_inputs(kind) * 9 + 4).movedim(module.axis, -1).flatten(0, -2)
    assert torch.allclose(module.mean, rows.mean(0), atol=1e-4)
    assert torch.allclose(module.deviation, rows.std(0, unbiased=False), rtol=1e-4)
    assert int(module.examples) == (16 if with_inputs else 8)
    with pytest.raises(NotApplicable, match="standardised already"):
        treated(network)
    change.undo()
    assert state_with_hooks(network, optimizer) == before


def test_with_inputs_evaluation_is_standardised_at_once() -> None:
    network = mlp().eval()
    rows = example_inputs("mlp") * 50 + 1000
    treated(network, inputs=rows)
    seen: list[Tensor] = []
    network[0][1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(rows)
    assert seen[0].mean(0).tolist() == pytest.approx([0.0] * 6, abs=1e-4)
    assert not network[0][0].training


def test_recurrent_layers_keep_their_name_their_attributes_and_their_calls() -> None:
    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(3, 4, num_layers=2, batch_first=True), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            start = x.new_zeros(self.lstm.num_layers, 6, self.lstm.hidden_size)
            out, _ = self.lstm(input=x, hx=(start, start))
            return self.out(out[:, -1])

    rows = torch.randn(6, 5, 3) * torch.tensor([1.0, 50.0, 1e-3]) + 7
    network, expected = Series(), Series()
    expected.load_state_dict(network.state_dict())
    change = treated(network, inputs=rows)
    assert [edit.path for edit in change.edits] == ["lstm"]
    network.eval()
    middle, size = rows.mean((0, 1)), rows.std((0, 1), unbiased=False)
    assert torch.allclose(network(rows), expected((rows - middle) / size), atol=1e-5)
    assert set(network.state_dict()) - set(expected.state_dict()) == {
        "changed by unvanish: standardise-input",
        *(f"lstm.standardise.{name}" for name in ("mean", "deviation", "values", "examples")),
    }
    twin = copy.deepcopy(network)
    stream = io.BytesIO()
    pickle.dump(network.lstm, stream)
    stream.seek(0)
    loaded = pickle.load(stream)
    assert torch.equal(twin(rows), network(rows))
    assert torch.equal(loaded(rows)[0], network.lstm(rows)[0])
    change.undo()
    assert torch.equal(network(rows), expected(rows))
    with pytest.raises(NotApplicable, match="these are tokens"):
        treated(Sequences())


def test_packed_sequences_are_standardised_by_their_own_rows() -> None:
    gru = nn.Sequential(nn.GRU(2, 3, batch_first=True))
    treated(gru)
    rows = torch.randn(4, 5, 2) * 30 + 9
    packed = pack_padded_sequence(rows, [5, 4, 2, 1], batch_first=True)
    gru[0](packed)
    standardise = gru[0].get_submodule("standardise")
    assert isinstance(standardise, Standardise)
    assert torch.allclose(standardise.mean, packed.data.mean(0), rtol=1e-5)
    assert int(standardise.values) == 12


def test_a_layer_whose_weight_is_read_elsewhere_keeps_its_name() -> None:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(torch.tanh(self.code(x)), self.code.weight.t())

    network = Autoencoder()
    rows = example_inputs("mlp") * 5 + 2
    treated(network, inputs=rows)
    assert list(network.state_dict())[1:3] == ["code.weight", "code.bias"]
    expected = torch.tanh(
        nn.functional.linear((rows - rows.mean(0)) / rows.std(0, unbiased=False), network.code.weight, network.code.bias)
    )
    assert torch.allclose(network.eval()(rows), expected @ network.code.weight, atol=1e-5)


def test_every_layer_that_takes_the_input_gets_one_also_behind_reshapes() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.skip, self.out = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(32, 48), nn.Linear(48, 2)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = x / 255
            return self.out(torch.relu(self.conv(x).flatten(1) + self.skip(x.reshape(len(mask), -1))))

    network = Two()
    rows = torch.rand(64, 2, 4, 4) * 255
    change = treated(network, inputs=(rows, torch.ones(64)))
    assert [(edit.path, edit.after.split(",")[0]) for edit in change.edits] == [
        ("conv", "Standardise(2"),
        ("skip", "Standardise(32)"),
    ]
    skip = network.skip
    assert isinstance(skip, nn.Sequential)
    assert torch.allclose(skip[0].mean, (rows / 255).flatten(1).mean(0), atol=1e-6)


def test_a_network_where_it_does_not_fit_is_refused_with_the_reason() -> None:
    cases: dict[str, nn.Module] = {
        "normalisation first": nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)),
        "could not be traced.*pass inputs=": Branching(),
        "first meets sigmoid": nn.Sequential(nn.Sigmoid(), nn.Linear(4, 2)),
        "no layer of": nn.Sequential(nn.Flatten()),
    }
    for match, network in cases.items():
        with pytest.raises(NotApplicable, match=match):
            treated(network)
    assert [edit.path for edit in treated(Branching(), inputs=example_inputs("mlp")).edits] == ["fc1"]
    assert [edit.path for edit in treated(Functional()).edits] == ["fc1"]
    with pytest.raises(NotApplicable):
        treated(build_network("shared layer"))
    assert treated(Tied()).edits[0].path == "one"


@pytest.mark.parametrize("network", [nn.Linear(3, 2), nn.Conv1d(3, 2, 1), nn.RNN(3, 2)], ids=lambda each: type(each).__name__)
def test_a_network_that_is_one_layer_standardises_its_own_input(network: nn.Module) -> None:
    shape = (60, 3, 5) if isinstance(network, nn.Conv1d) else (60, 3)
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 40 + 7
    axes = (0, 2) if len(shape) == 3 else (0,)
    plain = network((rows - rows.mean(axes, keepdim=True)) / rows.std(axes, keepdim=True, unbiased=False))
    change = treated(network)
    out = network(rows)
    first, expected = (out[0], plain[0]) if isinstance(out, tuple) else (out, plain)
    assert torch.allclose(first, expected, atol=1e-4)
    change.undo()
    assert not list(network.buffers())


def test_a_column_of_ones_stays_the_bias_of_a_layer_that_has_none() -> None:
    x = torch.stack([torch.arange(50.0), torch.full((50,), 4.0), torch.zeros(50)], 1)
    for bias, constant in ((False, 1.0), (True, 0.0)):
        network = nn.Sequential(nn.Linear(3, 1, bias=bias))
        treated(network, inputs=x)
        seen = network[0][0](x)
        assert seen[:, 1].tolist() == [constant] * 50
        assert not seen[:, 2].any()


def test_a_treated_network_trains_copies_and_pickles() -> None:
    network = build_network("cnn")
    treated(network)
    optimizer = SGD(network.parameters(), lr=1e-3)
    training_step(network, optimizer, example_inputs("cnn"))
    network.eval()
    expected = network(example_inputs("cnn"))
    stream = io.BytesIO()
    torch.save(network, stream)
    stream.seek(0)
    for other in (copy.deepcopy(network), torch.load(stream, weights_only=False)):
        assert torch.equal(other(example_inputs("cnn")), expected)
    half = copy.deepcopy(network).half()
    assert torch.isfinite(half(example_inputs("cnn").half())).all()


@pytest.mark.parametrize("with_inputs", [False, True])
def test_raw_data_are_learned_only_with_it(with_inputs: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = digits()[0] * 10 ** torch.linspace(-3, 3, 64) + torch.randn(64, generator=generator) * 1e3
    losses = []
    for is_treated in (False, True):
        network = deep_network(2, nn.Tanh)
        optimizer = SGD(network.parameters(), lr=0.1, momentum=0.9)
        if is_treated:
            treated(network, optimizer=optimizer, **({"inputs": images[:256]} if with_inputs else {}))
        losses.append(loss_after_training(network.train(), optimizer, steps=150, images=images))
    assert losses[0] > 2.0
    assert losses[1] < 0.3
