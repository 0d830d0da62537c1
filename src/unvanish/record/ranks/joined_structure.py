"""Joins what several processes train into one structure: what has the same name is one, what only one of them has is added."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unvanish.record.quantities import Axis
from unvanish.record.structure import Head, ModelStructure, Parameter, Site

Positions = Mapping[Axis, NDArray[np.int64]]
"""For each entry of an axis of one process's structure, its place in the joined structure."""


@dataclass(slots=True)
class _Entries:
    """The entries of one axis, each with the key by which it is known."""

    records: list[Any]
    place_of: dict[Hashable, int]

    def place(self, key: Hashable, record: Any) -> int:
        """The place of the entry with this key, which is added if it is new."""
        if key not in self.place_of:
            self.place_of[key] = len(self.records)
            self.records.append(record)
        return self.place_of[key]


class JoinedStructure:
    """Owner of the joined structure. The first process's indices stay as they are."""

    def __init__(self) -> None:
        self._axes = {axis: _Entries([], {}) for axis in Axis}

    def add(self, structure: ModelStructure) -> Positions:
        """Where each entry of a process's structure is in the joined one. Time is linear in the entries."""
        networks = self._place_all(Axis.NETWORK, _numbered((n.name, n.class_name) for n in structure.networks), structure.networks)
        groups = self._place_all(Axis.GROUP, _numbered((g.optimizer, g.class_name) for g in structure.groups), structure.groups)
        own = structure.parameters
        keys = _numbered((networks[p.network], p.name) for p in own)
        parameters = self._place_all(Axis.PARAMETER, keys, [_joined_parameter(p, networks, groups) for p in own])
        sites = [_joined_site(site, networks, parameters) for site in structure.sites]
        site_keys = _numbered((s.network, s.path, s.op, s.occurrence, s.functional) for s in sites)
        heads = [_joined_head(head, networks, parameters) for head in structure.heads]
        places = {
            Axis.NETWORK: networks,
            Axis.GROUP: groups,
            Axis.PARAMETER: parameters,
            Axis.SITE: self._place_all(Axis.SITE, site_keys, sites),
            Axis.HEAD: self._place_all(Axis.HEAD, _numbered(replace(head, location=None) for head in heads), heads),
        }
        return {axis: np.array(each, np.int64) for axis, each in places.items()}

    def _place_all(self, axis: Axis, keys: list[Hashable], records: Any) -> list[int]:
        return [self._axes[axis].place(key, record) for key, record in zip(keys, records, strict=True)]

    def length(self, axis: Axis) -> int:
        """How many entries an axis has."""
        return len(self._axes[axis].records)

    def structure(self) -> ModelStructure:
        """The joined structure."""
        axes = (Axis.NETWORK, Axis.SITE, Axis.PARAMETER, Axis.GROUP, Axis.HEAD)
        return ModelStructure(*(tuple(self._axes[axis].records) for axis in axes))


def _numbered(keys: Any) -> list[Hashable]:
    """Each key with how often it came before, so that two entries of one process never fall together."""
    counts: dict[Hashable, int] = {}
    numbered: list[Hashable] = []
    for key in keys:
        counts[key] = counts.get(key, -1) + 1
        numbered.append((key, counts[key]))
    return numbered


def _joined_parameter(parameter: Parameter, networks: list[int], groups: list[int]) -> Parameter:
    group = None if parameter.group is None else groups[parameter.group]
    return replace(parameter, network=networks[parameter.network], group=group, local_size=None)


def _joined_site(site: Site, networks: list[int], parameters: list[int]) -> Site:
    return replace(site, network=networks[site.network], parameters=tuple(parameters[i] for i in site.parameters))


def _joined_head(head: Head, networks: list[int], parameters: list[int]) -> Head:
    parameter = None if head.parameter is None else parameters[head.parameter]
    return replace(head, network=networks[head.network], parameter=parameter)
