"""What the user's source built outside of a network is known, as long as it lives."""

from __future__ import annotations

from torch import nn

from unvanish.observe.structure.model_index import ModelIndex
from unvanish.record.change import ModuleOrigin
from unvanish.record.structure import Location


def test_modules_outside_of_a_tree_are_listed_with_their_lines() -> None:
    atlas, net, loss, gone = ModelIndex(), nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.MSELoss(), nn.Sigmoid()
    for line, module in enumerate((net, net[0], net[1], loss, gone), start=1):
        atlas.born(module, (__file__, line))
    atlas.born(foreign := nn.ReLU(), None)
    del gone, module
    assert atlas.others(net) == (ModuleOrigin("", "MSELoss", Location(__file__, 4, "")),)
    assert [birth.class_name for birth in atlas.others(loss)] == ["Sequential", "Linear", "Tanh"]
    assert foreign is not None
