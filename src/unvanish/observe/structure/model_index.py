"""The structure of the user's program as it becomes known: networks, sites, parameters, optimizer groups, with stable indices.

It holds modules and tensors weakly, so that nothing lives longer because it was watched.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.weak import WeakIdKeyDictionary, WeakTensorKeyDictionary

from unvanish import source_location
from unvanish.observe.structure import module_origin
from unvanish.observe.structure.operation_kinds import unwrapped
from unvanish.record.change import ModuleOrigin
from unvanish.record.reading import Axis
from unvanish.record.structure import Entry, Head, Location, ModelStructure, Network, OptimizerGroup, Parameter, Site

# Parameters that belong to no module are listed under a network of this name.
LOOSE = "parameters"
MOST_HEADS = 64  # a head for each length of a sequence has no end


@dataclass(frozen=True, slots=True)
class SiteKey:
    """What makes a site the same one at every step: an operation, its module, and its turn within that module's call."""

    path: str
    op: str
    occurrence: int
    functional: bool


class ModelIndex:
    """Owner of all indices. `anatomy()` is the record of what is known now; `changed` says whether it grew since."""

    def __init__(self) -> None:
        self.changed = False
        self.modules_born = False
        self._networks: list[Network] = []
        self._sites: dict[tuple[int, SiteKey], int] = {}
        self._site_records: list[Site] = []
        self._unformed: dict[int, Tensor] = {}
        self._parameters: list[Parameter] = []
        self._groups: list[OptimizerGroup] = []
        self._heads: list[Head] = []
        self._network_of: Any = WeakIdKeyDictionary()  # root module, or a module called in its place -> index
        self._paths: list[Any] = []  # for each network: module -> dotted path
        self._roots: list[weakref.ref[nn.Module] | None] = []
        self._parameter_of: Any = WeakTensorKeyDictionary()  # tensor -> index
        self._optimizers: Any = WeakIdKeyDictionary()  # optimizer -> (objective, indices of its groups)
        self._optimizer_count = 0
        self._born: Any = WeakIdKeyDictionary()  # module -> place of the expression that built it
        self._entries: list[tuple[tuple[str, int], dict[int, str], Any]] = []

    # What the program told us on the way

    def born(self, module: nn.Module, place: tuple[str, int] | None) -> None:
        """Takes note of a module under construction. Cost: a walk up the frames, about a microsecond each."""
        self._born[module] = place
        self.modules_born = True

    def optimizer_built(self, frame: FrameType | None) -> None:
        """Takes note of how the frames that build an optimizer name the modules they can see: a change can enter there."""
        for user_frame in source_location.user_frames(frame):
            names: dict[int, str] = {}
            modules: Any = WeakIdKeyDictionary()
            for name, module in module_origin.names_in(user_frame):
                names.setdefault(id(module), name)
                modules[module] = True
            if names:
                self._entries.append(((user_frame.f_code.co_filename, user_frame.f_lineno), names, modules))

    # Indices

    def network(self, called: nn.Module, frame: FrameType | None) -> int:
        """The index of the network that a call of `called` belongs to; its whole tree of parameters is taken in."""
        known = self._network_of.get(called)
        if known is not None:
            return known
        root = self._root_of(called)
        known = self._network_of.get(root)
        if known is not None:
            self._network_of[called] = known
            return known
        index = self._network_of[root] = self._network_of[called] = len(self._networks)
        self._roots.append(weakref.ref(root))
        self._paths.append(_paths_in(root))
        entry = self._entry_of(root)
        name = (entry.expression if entry else None) or module_origin.name_of(root, frame) or type(root).__name__.lower()
        self._networks.append(Network(name.removeprefix("self."), type(root).__name__, entry))
        for path, parameter in root.named_parameters():
            self.parameter(parameter, network=index, name=path)
        self.changed = True
        return index

    def site(self, network: int, key: SiteKey, *, kind: str, order: int, module: nn.Module, frame: FrameType | None) -> int:
        """The index of a site, which is written down when it is first seen. `frame` is where it was called from."""
        known = self._sites.get((network, key))
        if known is not None:
            return known
        index = self._sites[network, key] = len(self._site_records)
        built = None if key.functional and not _is_torchs(module) else self._born.get(module)
        owned = tuple(
            self.parameter(p, network=network, name=f"{key.path}.{name}".lstrip("."), registered=False)
            for name, p in module.named_parameters(recurse=False)
            if not key.functional
        )
        where = source_location.location(built or source_location.place(frame))
        self._site_records.append(Site(network, key.path, key.op, kind, order, key.occurrence, where, owned, key.functional))
        self.changed = True
        return index

    def parameter(self, tensor: Tensor, *, network: int | None = None, name: str = "", registered: bool = True) -> int:
        """The index of a parameter; a new one is written down under the name given, or as a loose one."""
        if network is None and tensor not in self._parameter_of:
            self._take_in_owner(tensor)
        known = self._parameter_of.get(tensor)
        if known is not None:
            return known
        if network is None:
            network = self._loose_network()
            name = f"{LOOSE}.{sum(p.network == network for p in self._parameters)}"
        index = self._parameter_of[tensor] = len(self._parameters)
        if is_lazy(tensor):
            self._unformed[index] = tensor
        shape = () if is_lazy(tensor) else tuple(tensor.shape)
        self._parameters.append(Parameter(network, name, shape, tensor.requires_grad, None, registered))
        self.changed = True
        return index

    def optimizer(self, optimizer: Optimizer) -> int:
        """The objective that an optimizer stands for: 0 for the first one that stepped, and so on. New groups are taken in."""
        known = self._optimizers.get(optimizer)
        if known is None:
            known = self._optimizers[optimizer] = (self._optimizer_count, list[int]())
            self._optimizer_count += 1
        objective, groups = known
        for group in optimizer.param_groups[len(groups) :]:  # more may be added at any time, as layers are unfrozen
            groups.append(len(self._groups))
            self._groups.append(OptimizerGroup(objective, type(optimizer).__name__, tuple(_settings(group))))
            for tensor in group["params"]:
                index = self.parameter(tensor)
                self._parameters[index] = replace(self._parameters[index], group=groups[-1], trainable=tensor.requires_grad)
            self.changed = True
        return objective

    def learning_rates(self, optimizer: Optimizer) -> list[tuple[int, float]]:
        """The present learning rate of every group of a known optimizer, as (group index, rate)."""
        _, groups = self._optimizers[optimizer]
        rates = [(index, group.get("lr")) for index, group in zip(groups, optimizer.param_groups, strict=True)]
        return [(index, float(rate)) for index, rate in rates if isinstance(rate, int | float)]

    def living_parameters(self) -> list[Tensor]:
        """Every known parameter that still exists."""
        return list(self._parameter_of.keys())

    def group_of(self, index: int) -> int | None:
        """The optimizer group that owns a parameter."""
        return self._parameters[index].group

    def head(self, head: Head) -> int | None:
        """The index of a head; a new one is written down, or has none where MOST_HEADS are known. Where it was called from is no
        part of what makes it the same."""
        for index, known in enumerate(self._heads):
            if replace(known, location=head.location) == head:
                return index
        if len(self._heads) == MOST_HEADS:
            return None
        self._heads.append(head)
        self.changed = True
        return len(self._heads) - 1

    def index_of(self, tensor: Tensor) -> int | None:
        """The index of a parameter that is known; None for any other tensor."""
        return self._parameter_of.get(tensor)

    def network_of(self, index: int) -> int:
        """The index of the network that a parameter belongs to."""
        return self._parameters[index].network

    @property
    def sizes(self) -> dict[Axis, int]:
        """How many of each axis are known."""
        return {
            Axis.SITE: len(self._site_records),
            Axis.PARAMETER: len(self._parameters),
            Axis.GROUP: len(self._groups),
            Axis.NETWORK: len(self._networks),
            Axis.HEAD: len(self._heads),
        }

    @property
    def objectives(self) -> int:
        """How many optimizers have stepped; at least one, since updates by hand are an objective too."""
        return max(1, self._optimizer_count)

    def _form(self) -> None:
        """Lazy parameters get their shape with their module's first call."""
        for index, tensor in list(self._unformed.items()):
            if not is_lazy(tensor):
                self._parameters[index] = replace(self._parameters[index], shape=tuple(tensor.shape))
                del self._unformed[index]

    def anatomy(self) -> ModelStructure:
        """The record of all that is known."""
        self._form()
        known = (self._networks, self._site_records, self._parameters, self._groups, self._heads)
        return ModelStructure(*(tuple(each) for each in known))  # pyright: ignore[reportArgumentType]

    def path_of(self, module: nn.Module, network: int, holder: nn.Module | None) -> str:
        """The dotted path of `module` in its network. One that is not registered is named after its holder's attribute."""
        path = self._paths[network].get(module)
        root_ref = self._roots[network]
        if path is None and root_ref is not None and (root := root_ref()) is not None:
            self._paths[network] = _paths_in(root)  # the tree may have grown
            path = self._paths[network].get(module)
        if path is not None:
            return path
        if holder is None or holder is module:
            return type(module).__name__.lower()
        return f"{self.path_of(holder, network, None)}.{_attribute_of(module, holder)}".lstrip(".")

    # What can be changed, and where

    def births(self, root: nn.Module) -> dict[str, Location | None]:
        """The line of the user's source that built each module of a tree, by its path."""
        return {path: source_location.location(self._born.get(module)) for path, module in root.named_modules()}

    def others(self, root: nn.Module) -> tuple[ModuleOrigin, ...]:
        """The modules that the user's source built and that live outside of a tree."""
        inside = {id(module) for module in root.modules()}
        built = [
            (module, source_location.location(place)) for module, place in list(self._born.items()) if id(module) not in inside
        ]
        return tuple(ModuleOrigin("", type(module).__name__, place) for module, place in built if place is not None)

    def optimizers_of(self, root: nn.Module) -> tuple[Optimizer, ...]:
        """The known optimizers that own a parameter of a tree."""
        mine = {id(parameter) for parameter in root.parameters()}
        return tuple(o for o in self._optimizers.keys() if any(id(p) in mine for group in o.param_groups for p in group["params"]))  # noqa: SIM118

    def entry(self, called: nn.Module) -> Entry | None:
        """Where a change to the network that a module belongs to can enter the program."""
        known = self._network_of.get(called)
        return None if known is None else self._networks[known].entry

    # How it is found out

    def _root_of(self, called: nn.Module) -> nn.Module:
        """The top of the tree that a called module belongs to: callers may call `model.encoder` and never `model`."""
        module = unwrapped(called)
        seen = {id(module)}
        while (parent := self._parent_of(module)) is not None and id(parent) not in seen:
            module = parent
            seen.add(id(module))
        return module

    def _parent_of(self, module: nn.Module) -> nn.Module | None:
        if self._network_of.get(module) is not None:
            return None
        for candidate in list(self._born.keys()):
            if unwrapped(candidate) is candidate and any(child is module for child in candidate.children()):
                return candidate
        return None

    def _take_in_owner(self, tensor: Tensor) -> None:
        """Takes in the network that a parameter belongs to: an optimizer with a closure steps before any module runs."""
        for module in list(self._born.keys()):
            if any(own is tensor for own in module.parameters(recurse=False)):
                self.network(module, None)
                return

    def _entry_of(self, root: nn.Module) -> Entry | None:
        for place, names, modules in self._entries:
            for module in list(modules.keys()):
                where = source_location.location(place)
                if unwrapped(module) is root and where is not None:
                    return Entry(where, names[id(module)])
        return None

    def _loose_network(self) -> int:
        for index, network in enumerate(self._networks):
            if network.name == LOOSE:
                return index
        self._networks.append(Network(LOOSE, "Tensor"))
        self._roots.append(None)
        self._paths.append(WeakIdKeyDictionary())
        return len(self._networks) - 1


def _paths_in(root: nn.Module) -> Any:
    paths: Any = WeakIdKeyDictionary()
    for path, module in root.named_modules():
        paths[module] = path
    return paths


def _settings(group: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numeric settings of an optimizer group; pairs such as `betas` become beta1 and beta2."""
    for name, value in group.items():
        if name == "params":
            continue
        if isinstance(value, bool | int | float):
            yield name, float(value)
        elif name == "betas":
            yield "beta1", float(value[0])
            yield "beta2", float(value[1])


def _attribute_of(module: nn.Module, holder: nn.Module) -> str:
    for name, value in vars(holder).items():
        if value is module:
            return name
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        for key, item in items:
            if item is module:
                return f"{name}.{key}"
    return type(module).__name__.lower()


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.")
