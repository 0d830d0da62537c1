"""Who is who in a network: what must outlive a remedy that has no reason to touch it. It compares, and alters nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from unvanish.testing.state_snapshot import plain


@dataclass(frozen=True, slots=True)
class _Resident:
    """One parameter: the object, under how many names it stands, and what it and the optimizer held."""

    parameter: nn.Parameter
    places: int
    trained: bool
    attributes: frozenset[str]
    value: Any
    state: Any


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """The parameters and modules of a network at one moment, by name."""

    names: Mapping[str, nn.Parameter]
    residents: tuple[_Resident, ...]
    modules: Mapping[str, tuple[nn.Module, type[nn.Module], frozenset[str], bool]]
    forms: frozenset[tuple[torch.dtype, torch.device]]
    kind: type[Optimizer]

    @classmethod
    def of(cls, network: nn.Module, optimizer: Optimizer) -> ModuleIdentity:
        """The present moment."""
        names = dict(network.named_parameters(remove_duplicate=False))
        counted = [id(parameter) for parameter in names.values()]
        residents = tuple(
            _Resident(p, counted.count(id(p)), p.requires_grad, frozenset(vars(p)), plain(p), plain(optimizer.state.get(p, {})))
            for p in network.parameters()
        )
        modules = {path: (m, type(m), frozenset(vars(m)), m.training) for path, m in network.named_modules(remove_duplicate=False)}
        forms = frozenset((p.dtype, p.device) for p in names.values())
        return cls(names, residents, modules, forms, type(optimizer))

    def faults(self, network: nn.Module, optimizer: Optimizer) -> Iterator[str]:
        """What is wrong with the network that this has become."""
        names = dict(network.named_parameters(remove_duplicate=False))
        yield from _owned(network, optimizer)
        yield from self._identity(names, network)
        yield from self._ties(names)
        yield from self._survivors(names, optimizer)
        yield from self._modules(network)
        for name, parameter in names.items():
            if (parameter.dtype, parameter.device) not in self.forms:
                yield f"{name} is {parameter.dtype} on {parameter.device}, as nothing in the network was"
            if not torch.isfinite(parameter).all():
                yield f"{name} is not finite"

    def _identity(self, names: Mapping[str, nn.Parameter], network: nn.Module) -> Iterator[str]:
        """A module may give way to one of another class; one of the same class must go on with the same parameters."""
        for name, parameter in self.names.items():
            now = names.get(name)
            if now is None or now is parameter:
                continue
            owner = name.rpartition(".")[0]
            if type(network.get_submodule(owner)) is self.modules[owner][1] and now.shape == parameter.shape:
                yield f"{name} is another object of the same shape: what held the old one no longer sees it"
            if now.requires_grad and not parameter.requires_grad:
                yield f"{name} was frozen and is trained now"

    def _ties(self, names: Mapping[str, nn.Parameter]) -> Iterator[str]:
        for resident in self.residents:
            tied = [name for name, parameter in self.names.items() if parameter is resident.parameter and name in names]
            if len({id(names[name]) for name in tied}) > 1:
                yield f"{' and '.join(tied)} were one parameter and are several now"

    def _survivors(self, names: Mapping[str, nn.Parameter], optimizer: Optimizer) -> Iterator[str]:
        present = [id(parameter) for parameter in names.values()]
        where = {id(parameter): name for name, parameter in self.names.items()}
        for resident in self.residents:
            parameter, name = resident.parameter, where[id(resident.parameter)]
            if id(parameter) not in present:
                continue
            if present.count(id(parameter)) != resident.places:
                yield f"{name} stood under {resident.places} names and stands under {present.count(id(parameter))}"
            if parameter.requires_grad != resident.trained:
                yield f"requires_grad of {name} was {resident.trained} and is {parameter.requires_grad}"
            if resident.attributes != frozenset(vars(parameter)):
                yield f"{name} got an attribute: tensors are the user's own"
            kept = plain(parameter) == resident.value and type(optimizer) is self.kind
            if kept and plain(optimizer.state.get(parameter, {})) != resident.state:
                yield f"the optimizer's state of {name} is lost, though its value and the optimizer's kind are what they were"

    def _modules(self, network: nn.Module) -> Iterator[str]:
        before = {id(module): (kind, attributes, training) for module, kind, attributes, training in self.modules.values()}
        for path, module in network.named_modules():
            kind, attributes, training = before.get(id(module), (type(module), frozenset(vars(module)), network.training))
            if module.training != training:
                yield f"{path or 'the network'} is in {'training' if module.training else 'evaluation'} mode, and should not be"
            registered = {*vars(module)["_parameters"], *vars(module)["_buffers"], *vars(module)["_modules"]}
            if type(module) is kind and (odd := (attributes ^ frozenset(vars(module))) - registered):
                yield f"{path or 'the network'} got or lost the attribute {', '.join(sorted(odd))}: modules are the user's own"


def _owned(network: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    """What is not in exactly one group of the optimizer though it is trained."""
    owned: Sequence[int] = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    for name, parameter in network.named_parameters():
        count = owned.count(id(parameter))
        if parameter.requires_grad and count != 1:
            yield f"{name} is trained and stands in {count} groups of the optimizer, where it must stand in one"
    for group in optimizer.param_groups:
        if "param_names" in group and len(group["param_names"]) != len(group["params"]):
            yield "a group of the optimizer has names for other parameters than it holds"
