"""Tests of apply with every remedy on every kind of network: what is edited, what stays, and that undo restores everything."""

from __future__ import annotations

import copy
import io
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from remedy_networks import KINDS, Block, Branching, Sequences, build_network, example_inputs, mlp, training_step
from state_of_network import random_state, state_snapshot
from torch import nn

from unvanish.errors import NotApplicable, UndoError, UnknownRemedy, UsageError
from unvanish.remedies import Context, apply, get_remedy, remedy_names

ACTIVATIONS = {
    "mlp": ["1", "3"],
    "nested": ["stem.1.0", "body.0.squash", "body.0.bend", "body.1.squash", "body.1.bend"],
    "module list": ["acts.0", "acts.1", "acts.2"],
    "shared activation": ["act"],
    "shared layer": ["acts.0", "acts.1", "acts.2"],
    "tied weights": ["net.1", "net.3"],
    "cnn": ["1", "4", "7"],
    "functional": [""],
    "gated": ["act"],
}
WEIGHTS = {
    "mlp": ["0", "2", "4"],
    "nested": ["stem.0", "body.0.first", "body.0.second", "body.1.first", "body.1.second", "head"],
    "module list": ["layers.0", "layers.1", "layers.2", "out"],
    "shared activation": ["fc1", "fc2", "fc3"],
    "shared layer": ["layer", "out"],
    "tied weights": ["one", "out"],
    "cnn": ["0", "2", "6", "8"],
    "functional": ["fc1", "fc2", "fc3"],
    "gated": ["fc1", "squeeze", "out"],
}
NORMALISED = ACTIVATIONS | {"shared activation": ["fc1", "fc2"], "functional": ["fc1", "fc2"]}
EDITED = {
    **dict.fromkeys(("relu", "leaky-relu", "elu", "gelu", "silu"), ACTIVATIONS),
    **dict.fromkeys(("he-init", "glorot-init"), WEIGHTS),
    **dict.fromkeys(("batchnorm", "layernorm", "groupnorm", "rmsnorm"), NORMALISED),
}
APPLICABLE = [(name, kind) for name in EDITED for kind in KINDS if EDITED[name][kind]]
everywhere = pytest.mark.parametrize(("name", "kind"), APPLICABLE)


def test_the_table_has_only_names_of_the_catalogue() -> None:
    assert set(EDITED) <= set(remedy_names())


@everywhere
def test_a_remedy_edits_exactly_the_expected_places(name: str, kind: str) -> None:
    change = apply(build_network(kind), name)
    assert [edit.path for edit in change.edits] == EDITED[name][kind]
    assert change.remedies == (name,)


@everywhere
def test_a_plan_alters_nothing(name: str, kind: str) -> None:
    network = build_network(kind)
    before, generator = state_snapshot(network), torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert get_remedy(name).plan(network, Context(generator, inputs=example_inputs(kind)))
    assert state_snapshot(network) == before
    assert torch.equal(generator.get_state(), state)


@everywhere
def test_a_treated_network_still_trains_copies_and_pickles(name: str, kind: str) -> None:
    network = build_network(kind)
    apply(network, name)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    training_step(network, optimizer, example_inputs(kind))
    network.eval()
    expected = network(example_inputs(kind))
    assert torch.isfinite(expected).all()
    twin = build_network(kind, seed=1)
    apply(twin, name)
    twin.load_state_dict(network.state_dict())
    stream = io.BytesIO()
    torch.save(network, stream)
    stream.seek(0)
    for other in (copy.deepcopy(network), twin.eval(), torch.load(stream, weights_only=False)):
        assert torch.equal(other(example_inputs(kind)), expected)


@pytest.fixture(scope="module")
def compiler() -> None:
    """Torch's compiler, which wraps nn.Module.__init__ for good when it first compiles: before anything is watched."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", EDITED)
def test_a_treated_network_compiles_and_a_compiled_one_is_treated(name: str) -> None:
    network = build_network("mlp")
    compiled = torch.compile(network, backend="eager")
    stale = compiled(example_inputs("mlp"))
    apply(compiled, name)
    fresh = compiled(example_inputs("mlp"))
    assert not torch.equal(stale, fresh)
    assert torch.allclose(fresh, network(example_inputs("mlp")))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    drawn_names=st.lists(st.sampled_from(["relu", "elu", "he-init", "glorot-init", "batchnorm"]), min_size=1, max_size=3),
    owner=st.sampled_from([None, partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam]),
    frozen=st.booleans(),
    training=st.booleans(),
    trains_between=st.booleans(),
    seed=st.integers(0, 3),
)
def test_undo_after_apply_is_the_identity(kind, drawn_names, owner, frozen, training, trains_between, seed) -> None:
    network = build_network(kind, seed=seed)
    optimizers = [] if owner is None else [owner(network.parameters(), lr=1e-3)]
    for optimizer in optimizers:
        training_step(network, optimizer, example_inputs(kind))
    network.train(training)
    next(network.parameters()).requires_grad_(not frozen)
    before, random_before = state_snapshot(network, *optimizers), random_state()
    try:
        change = apply(network, *drawn_names, optimizer=optimizers, seed=seed)
    except NotApplicable:
        assert state_snapshot(network, *optimizers) == before
        assert random_state() == random_before
    else:
        assert random_state() == random_before
        if trains_between and optimizers:
            training_step(network.train(), optimizers[0], example_inputs(kind))
            optimizers[0].param_groups[0]["lr"] = 0.5
        random_before = random_state()
        change.undo()
        assert state_snapshot(network, *optimizers) == before
        change.undo()
        assert random_state() == random_before
    assert state_snapshot(network, *optimizers) == before


def test_the_second_remedy_plans_on_what_the_first_did() -> None:
    network = build_network("mlp")
    change = apply(network, "relu", "he-init")
    assert [edit.after for edit in change.edits[:2]] == ["ReLU()", "ReLU()"]
    assert "std 0.577" in change.edits[2].after  # sqrt(2 / 6), and not sqrt(1 / 6) as before a sigmoid


def test_where_the_second_remedy_cannot_act_the_first_is_undone() -> None:
    network = build_network("mlp")
    optimizer = torch.optim.Adam(network.parameters())
    training_step(network, optimizer, example_inputs("mlp"))
    before = state_snapshot(network, optimizer)
    with pytest.raises(NotApplicable, match="already there"):
        apply(network, "relu", "batchnorm", "batchnorm", optimizer=optimizer)
    assert state_snapshot(network, optimizer) == before


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    drawn = []
    for seed in (0, 0, 1):
        network = build_network("cnn")
        apply(network, "he-init", seed=seed)
        drawn.append(network[0].weight.detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_later_changes_must_be_undone_first() -> None:
    network = build_network("mlp")
    before = state_snapshot(network)
    first, second = apply(network, "relu"), apply(network, "batchnorm")
    between = state_snapshot(network)
    with pytest.raises(UndoError, match="later changes before earlier"):
        first.undo()
    assert state_snapshot(network) == between
    second.undo()
    first.undo()
    assert state_snapshot(network) == before


def test_undo_refuses_where_the_network_was_altered_since() -> None:
    network = mlp()
    change = apply(network, "relu")
    network[1] = nn.GELU()
    before = state_snapshot(network)
    with pytest.raises(UndoError, match="module '1' is another object"):
        change.undo()
    assert state_snapshot(network) == before


def test_undo_refuses_where_the_weights_have_another_dtype_since() -> None:
    network = mlp()
    change = apply(network, "he-init")
    network.half()
    with pytest.raises(UndoError, match="another shape, type or device"):
        change.undo()


def test_undo_refuses_where_a_group_of_the_optimizer_was_replaced() -> None:
    network = mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    change = apply(network, "batchnorm", optimizer=optimizer)
    optimizer.param_groups[:] = [{**optimizer.param_groups[0], "params": list(network[0].parameters())}]
    before = state_snapshot(network, optimizer)
    with pytest.raises(UndoError, match="group of the optimizer"):
        change.undo()
    assert state_snapshot(network, optimizer) == before


def test_the_error_for_an_unknown_name_has_the_nearest_one() -> None:
    with pytest.raises(UnknownRemedy, match="did you mean 'he-init'"):
        apply(mlp(), "he_init")
    with pytest.raises(UnknownRemedy, match="the remedies are relu, leaky-relu, elu"):
        get_remedy("prayer")


def test_arguments_of_the_wrong_kind_raise_usage_errors() -> None:
    with pytest.raises(UsageError, match="no remedy"):
        apply(mlp())
    with pytest.raises(UsageError, match=r"torch\.nn\.Module"):
        apply([mlp()], "relu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="optimizer="):
        apply(mlp(), "relu", optimizer=["adam"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="inputs= cannot be run"):
        apply(mlp(), "batchnorm", inputs=torch.zeros(8, 99))


@pytest.mark.parametrize("name", remedy_names())
def test_a_lazy_network_must_run_once_first(name: str) -> None:
    with pytest.raises(NotApplicable, match="has no shape yet"):
        apply(nn.Sequential(nn.LazyLinear(4), nn.Sigmoid(), nn.Linear(4, 2)), name)


@pytest.mark.parametrize("name", [name for name in remedy_names() if get_remedy(name).family != "output"])
def test_a_network_that_is_one_activation_is_refused_except_by_remedies_for_outputs(name: str) -> None:
    with pytest.raises(NotApplicable):
        apply(nn.Sigmoid(), name)


@pytest.mark.parametrize("name", remedy_names())
def test_a_card_has_every_heading_and_a_summary_of_one_line(name: str) -> None:
    kind = type(get_remedy(name))
    for heading in ("Does:", "Helps:", "Harms:", "Cost:", "References:"):
        assert f"\n    {heading} " in (kind.__doc__ or "")
    assert "\n" not in kind.summary
    assert kind.treats


def test_tracing_does_not_call_the_users_hooks() -> None:
    calls: list[str] = []
    network = nn.Sequential(Block(6), nn.Linear(6, 3))
    network[0].register_forward_hook(lambda *_: calls.append("container"))
    network[0].first.register_forward_hook(lambda *_: calls.append("layer"))
    apply(network, "relu", "batchnorm", "he-init", inputs=example_inputs("mlp"))
    assert calls == []
    network(example_inputs("mlp"))
    assert sorted(calls) == ["container", "layer"]


def test_inputs_show_the_order_where_the_forward_pass_cannot_be_traced() -> None:
    with pytest.raises(NotApplicable, match="pass inputs="):
        apply(Branching(), "relu")
    network = Branching()
    assert [edit.path for edit in apply(network, "relu", inputs=example_inputs("mlp")).edits] == ["act"]


def test_an_output_activation_registered_first_stays_where_the_order_is_unknown() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squash = nn.Sigmoid()
            self.body, self.head = nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Linear(5, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.squash(self.head(self.body(x if x.sum() > 0 else -x)))

    for batch in (None, example_inputs("mlp")):
        network = Classifier()
        assert [edit.path for edit in apply(network, "relu", inputs=batch).edits] == ["body.1"]


def test_recurrent_and_attention_layers_are_left_alone() -> None:
    network = Sequences()
    lstm = [p.clone() for p in (*network.lstm.parameters(), *network.attend.parameters(), *network.embed.parameters())]
    change = apply(network, "relu", "he-init")
    assert [edit.path for edit in change.edits] == ["mix.1", "mix.0", "out"]
    after = (*network.lstm.parameters(), *network.attend.parameters(), *network.embed.parameters())
    assert all(torch.equal(a, b) for a, b in zip(lstm, after, strict=True))
