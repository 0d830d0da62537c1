"""Tests of batchnorm: where it is inserted, state_dict keys, optimizers, and refusals."""

from __future__ import annotations

import pytest
import torch
from remedy_networks import Branching, Functional, Sequences, SharedActivation, build_network, example_inputs, mlp, training_step
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply
from unvanish.remedies.saved_state_mark import PREFIX


def test_other_keys_of_the_state_dict_keep_their_names_in_a_sequential() -> None:
    network = mlp()
    old = set(network.state_dict())
    apply(network, "batchnorm")
    new = {key for key in network.state_dict() if not key.startswith(PREFIX)}
    assert old < new
    assert all(key.startswith(("1.0.", "3.0.")) for key in new - old)


def test_the_activation_sees_standardised_values() -> None:
    network = build_network("cnn")
    apply(network, "batchnorm")
    activation_inputs: list[Tensor] = []
    for path in ("1.1", "4.1", "7.1"):
        network.get_submodule(path).register_forward_pre_hook(lambda _, args: activation_inputs.append(args[0]))
    network(example_inputs("cnn", rows=64))
    assert len(activation_inputs) == 3
    for values in activation_inputs:
        axes = [axis for axis in range(values.dim()) if axis != 1]
        assert torch.allclose(values.mean(axes), torch.zeros(values.shape[1]), atol=1e-5)
        assert torch.allclose(values.var(axes, unbiased=False), torch.ones(values.shape[1]), atol=0.05)


def test_it_is_inserted_behind_the_layer_for_calls_and_shared_activations() -> None:
    for network in (Functional(), SharedActivation()):
        apply(network, "batchnorm")
        assert isinstance(network.fc1, nn.Sequential)
        assert isinstance(network.fc2[1], nn.BatchNorm1d)
        assert isinstance(network.fc3, nn.Linear)
        assert "fc1.0.weight" in network.state_dict()


def test_a_layer_whose_weight_is_read_in_forward_stays() -> None:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.hidden = nn.Linear(6, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.hidden(torch.tanh(self.code(x))))
            return nn.functional.linear(h, self.code.weight.t())

    network = Autoencoder()
    assert [edit.path for edit in apply(network, "batchnorm").edits] == ["hidden"]
    assert network(example_inputs("mlp")).shape == (8, 6)


def test_new_parameters_join_the_group_of_their_neighbour() -> None:
    network = mlp()
    slow = torch.optim.SGD(
        [{"params": network[4].parameters()}, {"params": network[2].parameters(), "lr": 1e-4}], lr=0.1, momentum=0.9
    )
    fast = torch.optim.Adam(network[0].named_parameters())
    training_step(network, slow, example_inputs("mlp"))
    momentum = slow.state[network[2].weight]["momentum_buffer"]
    kept = momentum.clone()
    change = apply(network, "batchnorm", optimizer=[slow, fast])
    assert slow.param_groups[1]["params"][2:] == list(network[3][0].parameters())
    assert len(slow.param_groups[0]["params"]) == 2
    assert fast.param_groups[0]["params"][2:] == list(network[1][0].parameters())
    assert fast.param_groups[0]["param_names"] == ["weight", "bias", "1.0.weight", "1.0.bias"]
    assert slow.state[network[2].weight]["momentum_buffer"] is momentum
    assert torch.equal(momentum, kept)
    training_step(network, fast, example_inputs("mlp"))
    change.undo()
    assert [len(group["params"]) for optimizer in (slow, fast) for group in optimizer.param_groups] == [2, 2, 2]
    assert fast.param_groups[0]["param_names"] == ["weight", "bias"]


def test_an_optimizer_that_cannot_take_new_parameters_is_refused() -> None:
    network = mlp()
    optimizer = torch.optim.LBFGS(network.parameters())
    with pytest.raises(NotApplicable, match="LBFGS"):
        apply(network, "batchnorm", optimizer=optimizer)
    assert len(optimizer.param_groups[0]["params"]) == 6
    assert isinstance(network[1], nn.Sigmoid)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(NotApplicable, match="one example"):
        apply(mlp(), "batchnorm", inputs=example_inputs("mlp", rows=1))


def test_features_on_the_last_of_three_axes_are_refused() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    batch = torch.zeros(8, 7, 6)
    with pytest.raises(NotApplicable, match=r"'net\.0' puts out a tensor of shape \(8, 7, 5\)"):
        apply(Rows(), "batchnorm", inputs={"x": batch})


def test_a_network_for_sequences_is_refused_until_its_shapes_are_known() -> None:
    with pytest.raises(NotApplicable, match="pass inputs="):
        apply(Sequences(), "batchnorm")
    bag = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2))
    batch = torch.zeros(8, 3, dtype=torch.long)
    assert [edit.path for edit in apply(bag, "batchnorm", inputs=batch).edits] == ["3"]


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4)])
def test_a_layer_that_is_normalised_already_is_left_alone(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(6, 4), norm, nn.Tanh(), nn.Linear(4, 4), nn.Dropout(), nn.Tanh(), nn.Linear(4, 1))
    assert [edit.path for edit in apply(network, "batchnorm").edits] == ["5"]
    with pytest.raises(NotApplicable, match="already there"):
        apply(network, "batchnorm")


def test_frozen_layers_are_left_alone() -> None:
    network = mlp()
    network[0].requires_grad_(False)
    assert [edit.path for edit in apply(network, "batchnorm").edits] == ["3"]


def test_a_network_whose_order_is_unknown_is_refused() -> None:
    with pytest.raises(NotApplicable, match="could not be traced"):
        apply(Branching(), "batchnorm")
    with pytest.raises(NotApplicable, match="no hidden activation"):
        apply(nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()), "batchnorm")


def test_it_restores_the_gradient_of_a_deep_sigmoid_network() -> None:
    layers = [part for _ in range(12) for part in (nn.Linear(32, 32), nn.Sigmoid())]
    network = nn.Sequential(*layers, nn.Linear(32, 4))
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))

    def ratio() -> float:
        network.zero_grad()
        network(x).square().mean().backward()
        return float(network[0].weight.grad.norm() / network[-1].weight.grad.norm())

    lost = ratio()
    apply(network, "batchnorm")
    assert lost < 1e-6
    assert ratio() > 1e-2
