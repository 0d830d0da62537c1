"""Where a module's hooks are kept, and copies without them."""

from __future__ import annotations

import copy

from torch import nn

from unvanish.network.module_hooks import HOOK_DICTS, forward_hooks, forward_pre_hooks, memo_without_hooks


def network_with_hooks() -> nn.Sequential:
    network = nn.Sequential(nn.Linear(2, 2))
    for module in network.modules():
        module.register_forward_hook(print, with_kwargs=True, always_call=True)
        module.register_forward_pre_hook(print, with_kwargs=True)
        module.register_full_backward_hook(print)
        module.register_full_backward_pre_hook(print)
    return network


def test_every_hook_of_a_network_stands_in_one_of_the_dicts() -> None:
    """Whatever else torch keeps for hooks is empty, so that nothing is overlooked."""
    state = vars(network_with_hooks()[0])
    filled = {name for name, value in state.items() if "hooks" in name and value}
    assert {name for name in filled if "state_dict" not in name} - {"_is_full_backward_hook"} == set(HOOK_DICTS)


def test_hooks_are_read_in_their_order() -> None:
    layer, calls = nn.Linear(2, 2), [lambda *_: None, lambda *_: None]
    for call in calls:
        layer.register_forward_hook(call)
        layer.register_forward_pre_hook(call)
    assert forward_hooks(layer) == forward_pre_hooks(layer) == tuple(calls)


def test_a_copy_with_the_memo_has_no_hooks_and_the_network_keeps_its_own() -> None:
    network = network_with_hooks()
    twin = copy.deepcopy(network, memo_without_hooks(network))
    assert all(not vars(module)[name] for module in twin.modules() for name in HOOK_DICTS)
    assert all(vars(module)[name] for module in network.modules() for name in HOOK_DICTS)
    assert (twin[0].weight == network[0].weight).all()
