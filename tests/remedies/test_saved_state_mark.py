"""Tests of the mark in the saved state of a network whose remedies live in memory only."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from state_of_network import state_snapshot
from torch import nn

from unvanish.remedies import apply
from unvanish.remedies.saved_state_mark import PREFIX


def deep_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))


def test_a_state_saved_with_a_remedy_is_refused_in_words_without_it() -> None:
    changed, plain = deep_net(), deep_net()
    apply(changed, "relu", "he-init", "batchnorm")
    apply(changed, "residual")
    with pytest.raises(RuntimeError, match=r"Unexpected key.*changed by unvanish: relu, batchnorm, residual"):
        plain.load_state_dict(changed.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*changed by unvanish: relu"):
        changed.load_state_dict(plain.state_dict())


def test_a_state_saved_with_a_remedy_loads_into_a_network_with_the_same_one() -> None:
    changed, fresh, x = deep_net(), deep_net(), torch.randn(5, 3)
    for network in (changed, fresh):
        apply(network, "relu")
    file = io.BytesIO()
    torch.save(changed.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), changed(x))


def test_remedies_that_change_weights_or_their_training_alone_leave_no_mark() -> None:
    network = deep_net()
    optimizer = torch.optim.Adam(network.parameters())
    apply(network, "he-init", "clip-norm", "loss-scaling", "warmup", optimizer=optimizer)
    assert not any(PREFIX in key for key in network.state_dict())
    deep_net().load_state_dict(network.state_dict())


def test_copies_pickles_and_wrappers_keep_the_mark_and_undo_removes_it() -> None:
    network = deep_net()
    before = state_snapshot(network)
    change = apply(network, "elu")
    key = f"{PREFIX}elu"
    assert key in copy.deepcopy(network).state_dict()
    assert key in pickle.loads(pickle.dumps(network)).state_dict()
    assert f"module.{key}" in nn.DataParallel(network).state_dict()
    assert f"_orig_mod.{key}" in torch.compile(network, backend="eager").state_dict()
    assert all(isinstance(value, torch.Tensor) for value in network.state_dict().values())  # what safetensors asks for
    change.undo()
    assert state_snapshot(network) == before


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_marked_network_can_be_scripted_and_exported() -> None:
    network, x = deep_net(), torch.randn(5, 3)
    apply(network, "relu")
    wanted = network(x)
    assert torch.equal(torch.jit.script(network)(x), wanted)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), wanted)
