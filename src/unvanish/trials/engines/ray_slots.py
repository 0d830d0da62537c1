"""Seats on a Ray cluster: each holds the CPUs, and where there are some the GPU, that one running trial computes with.

A seat is a placement group of its own, so that trials that wait, whose actors hold no CPU, take nothing from anybody. It runs no
trial.
"""

from __future__ import annotations

import math
import os
import textwrap
import time
from dataclasses import dataclass
from typing import Any, final

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from unvanish.errors import TrialError
from unvanish.trials.engines.ray_actor import DEVICES, Place, versions

COUNT_EVERY_S = 1.0  # the nodes of the cluster
ATTEMPTS = 5  # at a seat, while nodes are lost under it


@dataclass(slots=True, eq=False)
class ResourceSlot:
    """Resources for one running trial, as a bundle. `place` is None until the cluster has found room, which `call` tells."""

    bundle: dict[str, float]
    group: PlacementGroup
    call: Any
    place: Place | None = None
    taken: bool = False


@final
class ResourceSlots:
    """Owner of the seats. `threads` is what a trial computes with, `gpus` whether it may use one; new seats are made to that."""

    def __init__(self, threads: int, *, most: int | None = None) -> None:
        self.threads = threads
        self._most = most
        self._seats: list[ResourceSlot] = []
        self._failures = 0
        self._nodes: dict[str, dict[str, float]] = {}
        self._counted_s = -math.inf
        self.gpus = any(node.get("GPU", 0.0) >= 1.0 for node in self._alive().values())

    @property
    def capacity(self) -> int:
        """How many trials run at a time: what was asked for, or else what the nodes have room for where nobody else is there."""
        bundle = self._bundle()
        room = sum(min(int(node.get(name, 0.0) // share) for name, share in bundle.items()) for node in self._alive().values())
        return self._most or max(1, room)

    @property
    def free(self) -> list[ResourceSlot]:
        """The seats on which nobody sits."""
        return [seat for seat in self._seats if seat.place is not None and not seat.taken]

    @property
    def calls(self) -> list[Any]:
        """What to wait for until more seats come."""
        return [seat.call for seat in self._seats if seat.place is None]

    def on(self, node: str) -> bool:
        """Whether there is a seat on a node."""
        return any(seat.place is not None and seat.place.node == node for seat in self._seats)

    def memory(self, node: str) -> float:
        """The bytes that a node has for all that runs there by way of Ray, as far as is known."""
        return self._alive().get(node, {}).get("memory", math.inf)

    def ask(self, count: int, needed: set[str]) -> None:
        """Sees to it that there are so many seats, or will be. The others are given back, but those on nodes that are `needed`."""
        wanted, bundle = min(count, self.capacity), self._bundle()
        for seat in [seat for seat in self._seats if not seat.taken]:
            fits = seat.bundle == bundle and len(self._seats) <= wanted
            if not fits and (seat.place is None or seat.place.node not in needed):
                self.give_back(seat)
        for _ in range(wanted - len(self._seats)):
            group = placement_group([bundle])
            strategy = PlacementGroupSchedulingStrategy(group)
            task = ray.remote(num_cpus=0, num_gpus=bundle.get("GPU", 0), max_retries=0)(_here)
            self._seats.append(ResourceSlot(bundle, group, task.options(scheduling_strategy=strategy).remote("GPU" in bundle)))

    def arrived(self, call: Any) -> None:
        """Takes in a seat for which room was found. Raises TrialError where trials cannot run on its node."""
        seat = next(seat for seat in self._seats if seat.call == call)
        try:
            there: Place = ray.get(call)
        except RayTaskError as fault:
            raise TrialError(f"a node of the Ray cluster cannot run trials ({said_by(fault)}); install unvanish there") from fault
        except RayError as fault:  # the node was lost
            self.give_back(seat)
            self._failures += 1
            if self._failures == ATTEMPTS:
                raise TrialError(f"the Ray cluster gives no room to a trial ({said_by(fault)}); see ray status") from fault
        else:
            require_same(there)
            seat.place, self._failures = there, 0

    def give_back(self, seat: ResourceSlot) -> None:
        """Lets others have the resources of a seat."""
        self._seats.remove(seat)
        remove_placement_group(seat.group)

    def leave(self, node: str) -> None:
        """Gives back the free seats on a node that may be lost."""
        for seat in self.free:
            if seat.place is not None and seat.place.node == node:
                self.give_back(seat)

    def give_all_back(self) -> None:
        """Lets others have everything."""
        for seat in list(self._seats):
            self.give_back(seat)

    def _bundle(self) -> dict[str, float]:
        """What one trial needs: as many CPUs as it has threads, but no more than a node has."""
        gpus = {"GPU": 1.0} if self.gpus else {}
        able = [node.get("CPU", 0.0) for node in self._alive().values() if node.get("GPU", 0.0) >= gpus.get("GPU", 0.0)]
        return {"CPU": min(float(self.threads), max([1.0, *able])), **gpus}

    def _alive(self) -> dict[str, dict[str, float]]:
        """The resources of the nodes that are there, by the node's number, as they were a moment ago."""
        now = time.monotonic()
        if now - self._counted_s >= COUNT_EVERY_S:
            self._nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
            self._counted_s = now
        return self._nodes


def require_same(there: Place) -> None:
    """Refuses a node where the same trial would not come to the same losses."""
    for (name, found), (_, here) in zip(there.versions, versions(), strict=True):
        if found != here:
            raise TrialError(
                f"the node {there.name} of the Ray cluster has {name} {found}, this machine {here}: trials would not compare; "
                f"install {name} {here} there"
            )


def said_by(fault: BaseException) -> str:
    """What Ray says of a fault, in one short line."""
    cause = getattr(fault, "cause", None)
    text = str(cause or fault).strip()
    return textwrap.shorten(text, 200, placeholder=" …") or type(cause or fault).__name__


def _here(gpus: bool) -> Place:
    """The node of the cluster on which this task runs, with the GPUs that Ray gave to it where it asked for any."""
    node, name = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
    return Place(node, name, versions(), os.environ.get(DEVICES, "") if gpus else "")
