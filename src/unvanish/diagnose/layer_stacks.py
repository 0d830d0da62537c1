"""Groups the sites of a run into stacks: the layers that are trained together, by one loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unvanish.record.run import Run
from unvanish.record.structure import LAYER_KINDS, ModelStructure


@dataclass(frozen=True, slots=True)
class LayerStack:
    """The layers that are trained together, from the input to the output.

    Attributes:
        objective: Index of the optimizer that has most of their weights, and of the loss that it steps on.
        layers: Indices of the sites that are modules with weights, in order of execution.
        activations: Indices of the sites that are activations.
        sites: Indices of all sites.
        networks: Indices of the networks that these sites belong to.
        optimizers: Indices of all optimizers that step on that loss with weights of these networks.
    """

    objective: int
    layers: tuple[int, ...]
    activations: tuple[int, ...]
    sites: tuple[int, ...]
    networks: frozenset[int] = frozenset()
    optimizers: frozenset[int] = frozenset()


def find_layer_stacks(run: Run) -> tuple[LayerStack, ...]:
    """The stacks of a run; at least one, which may be empty.

    A network belongs to the optimizer that has most of its weights, together with others that step on the same loss. Where another
    one steps on another loss, as a generator's and a discriminator's in one module do, each has the layers whose weights it has.
    """
    structure = run.structure
    owners = _weights_by_owner(structure)
    leaders = {network: _leaders(run, sizes) for network, sizes in owners.items()}
    leader_of_site = {i: _leader_of_site(structure, i, leaders) for i in range(len(structure.sites))}
    leader_of_site = _inherit_leaders(structure, leader_of_site)
    stacks: list[LayerStack] = []
    for objective in sorted({leader for pairs in leaders.values() for leader in pairs.values()} or {0}):
        networks = {n for n, pairs in leaders.items() if objective in pairs.values()} or set(range(len(structure.networks)))
        if not any(s.network in networks for s in structure.sites):  # master weights: no optimizer owns the weights that run
            networks |= {s.network for s in structure.sites if s.network not in leaders}
        members = {o for pairs in leaders.values() for o, leader in pairs.items() if leader == objective} or {objective}
        sites = [i for i, site in enumerate(structure.sites) if site.network in networks and leader_of_site[i] in (objective, None)]
        stacks.append(_build_stack(structure, objective, sites, networks, members))
    return tuple(stacks)


def _build_stack(
    structure: ModelStructure, objective: int, sites: Iterable[int], networks: Iterable[int], optimizers: Iterable[int]
) -> LayerStack:
    ordered = sorted(sites, key=lambda i: (structure.sites[i].order, i))
    layers = tuple(i for i in ordered if structure.sites[i].kind in LAYER_KINDS and not structure.sites[i].functional)
    activations = tuple(i for i in ordered if structure.sites[i].kind == "activation")
    return LayerStack(objective, layers, activations, tuple(ordered), frozenset(networks), frozenset(optimizers))


def _weights_by_owner(structure: ModelStructure) -> dict[int, dict[int, int]]:
    """The number of weights that each optimizer has of each network, by network and optimizer."""
    owners: dict[int, dict[int, int]] = {}
    for parameter in structure.parameters:
        if parameter.group is not None:
            sizes = owners.setdefault(parameter.network, {})
            optimizer = structure.groups[parameter.group].optimizer
            sizes[optimizer] = sizes.get(optimizer, 0) + parameter.size
    return owners


def _leaders(run: Run, sizes: dict[int, int]) -> dict[int, int]:
    """For each owner of a network's weights, the one with the most weights among those that step on the same loss."""
    leaders: dict[int, int] = {}
    for owner in sorted(sizes, key=lambda o: (-sizes[o], o)):
        leaders[owner] = next((leader for leader in leaders.values() if _is_same_loss(run, owner, leader)), owner)
    return leaders


def _is_same_loss(run: Run, one: int, other: int) -> bool:
    """Whether two optimizers step on equal losses wherever both have one; also where they never have one at the same step."""
    if max(one, other) >= run.losses.shape[1]:
        return True
    first, second = run.losses[:, one], run.losses[:, other]
    are_known = ~np.isnan(first) & ~np.isnan(second)
    return bool(np.array_equal(first[are_known], second[are_known]))


def _leader_of_site(structure: ModelStructure, index: int, leaders: dict[int, dict[int, int]]) -> int | None:
    """The leader among the owners of a site's weights; None where the whole network has one, and where the site has no weights."""
    site = structure.sites[index]
    if len(set(leaders.get(site.network, {}).values())) < 2 or site.kind not in LAYER_KINDS:
        return None
    groups = [g for p in site.parameters if (g := structure.parameters[p].group) is not None]
    return leaders[site.network][structure.groups[groups[0]].optimizer] if groups else None


def _inherit_leaders(structure: ModelStructure, leader_of_site: dict[int, int | None]) -> dict[int, int | None]:
    """The leaders, where a site without weights of its own has that of the last site before it that has some."""
    last: dict[int, int | None] = {}
    inherited: dict[int, int | None] = {}
    for index in structure.in_order():
        network = structure.sites[index].network
        last[network] = inherited[index] = leader_of_site[index] if leader_of_site[index] is not None else last.get(network)
    return inherited
