"""The network inside compiled and data-parallel wrappers."""

from __future__ import annotations

import pytest
from torch import nn

from unvanish.network.unwrapping import unwrapped, wrapped_module
from unvanish.record.model_wrappers import WRAPPED_ATTRIBUTES


class OptimizedModule(nn.Module):
    """As torch.compile's, which would take seconds to load."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._orig_mod = inner


class DataParallelOnTwo(nn.DataParallel):
    """A subclass, as users write to forward attributes."""


@pytest.mark.parametrize("wrapper", [OptimizedModule, nn.DataParallel, DataParallelOnTwo])
def test_the_network_is_found_through_any_number_of_wrappers(wrapper: type[nn.Module]) -> None:
    network = nn.Linear(2, 2)
    assert wrapped_module(wrapper(network)) is network
    assert unwrapped(wrapper(OptimizedModule(wrapper(network)))) is network


def test_a_plain_network_is_no_wrapper_whatever_its_attributes_are_called() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    network = Holder()
    assert wrapped_module(network) is None
    assert unwrapped(network) is network


def test_the_table_names_the_wrappers_as_torch_does() -> None:
    assert {nn.DataParallel.__name__, nn.parallel.DistributedDataParallel.__name__} <= WRAPPED_ATTRIBUTES.keys()
    assert dict(nn.DataParallel(nn.Identity()).named_children()).keys() == {WRAPPED_ATTRIBUTES["DataParallel"]}
