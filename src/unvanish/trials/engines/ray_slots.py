"""Resource slots on a Ray cluster: each holds the CPUs, and where there are some the GPU, for one running trial.

A slot is a placement group of its own. The actor of a paused trial holds no CPU, so it takes nothing from other users."""

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
from unvanish.trials.engines.ray_actor import DEVICES_VARIABLE, NodeInfo, installed_versions

NODES_INTERVAL_S = 1.0  # between two counts of the nodes
MAX_ATTEMPTS = 5  # at a slot, while nodes are lost


@dataclass(slots=True, eq=False)
class ResourceSlot:
    """Resources for one running trial, as a bundle. `node` is None until the cluster has reserved them and `call` has returned."""

    bundle: dict[str, float]
    group: PlacementGroup
    call: Any
    node: NodeInfo | None = None
    is_taken: bool = False


@final
class ResourceSlots:
    """Owner of the slots, at most `max_slots`. New slots get as many CPUs as a trial has `threads`, and a GPU where `uses_gpu`."""

    def __init__(self, threads: int, *, max_slots: int | None = None) -> None:
        self.threads = threads
        self._max_slots = max_slots
        self._slots: list[ResourceSlot] = []
        self._failures = 0
        self._nodes: dict[str, dict[str, float]] = {}
        self._counted_s = -math.inf
        self.uses_gpu = any(node.get("GPU", 0.0) >= 1.0 for node in self._alive().values())

    @property
    def capacity(self) -> int:
        """How many trials run at a time: `max_slots`, by default what the nodes have room for without other users."""
        bundle = self._bundle()
        room = sum(min(int(node.get(name, 0.0) // share) for name, share in bundle.items()) for node in self._alive().values())
        return self._max_slots or max(1, room)

    @property
    def free(self) -> list[ResourceSlot]:
        """The reserved slots that no trial uses."""
        return [slot for slot in self._slots if slot.node is not None and not slot.is_taken]

    @property
    def pending_calls(self) -> list[Any]:
        """The Ray calls that return when requested slots are reserved."""
        return [slot.call for slot in self._slots if slot.node is None]

    def has_slot_on(self, node_id: str) -> bool:
        """Whether there is a slot on a node."""
        return any(slot.node is not None and slot.node.node_id == node_id for slot in self._slots)

    def memory_bytes(self, node_id: str) -> float:
        """The memory that Ray has on a node, infinite where that is unknown."""
        return self._alive().get(node_id, {}).get("memory", math.inf)

    def request(self, count: int, needed_nodes: set[str]) -> None:
        """Requests slots until there are `count`, and releases those beyond, except on `needed_nodes`."""
        wanted, bundle = min(count, self.capacity), self._bundle()
        for slot in [slot for slot in self._slots if not slot.is_taken]:
            fits = slot.bundle == bundle and len(self._slots) <= wanted
            if not fits and (slot.node is None or slot.node.node_id not in needed_nodes):
                self.release(slot)
        for _ in range(wanted - len(self._slots)):
            group = placement_group([bundle])
            strategy = PlacementGroupSchedulingStrategy(group)
            task = ray.remote(num_cpus=0, num_gpus=bundle.get("GPU", 0), max_retries=0)(_describe_node)
            self._slots.append(ResourceSlot(bundle, group, task.options(scheduling_strategy=strategy).remote("GPU" in bundle)))

    def on_reserved(self, call: Any) -> None:
        """Handles the return of a pending call. Raises TrialError where trials cannot run on the slot's node."""
        slot = next(slot for slot in self._slots if slot.call == call)
        try:
            node: NodeInfo = ray.get(call)
        except RayTaskError as fault:
            raise TrialError(
                f"a node of the Ray cluster cannot run trials ({format_ray_error(fault)}); install unvanish there"
            ) from fault
        except RayError as fault:  # the node was lost
            self.release(slot)
            self._failures += 1
            if self._failures == MAX_ATTEMPTS:
                raise TrialError(f"the Ray cluster gives no room to a trial ({format_ray_error(fault)}); see ray status") from fault
        else:
            require_same_versions(node)
            slot.node, self._failures = node, 0

    def release(self, slot: ResourceSlot) -> None:
        """Gives the resources of a slot back to the cluster."""
        self._slots.remove(slot)
        remove_placement_group(slot.group)

    def release_node(self, node_id: str) -> None:
        """Releases the free slots on a node that may be lost."""
        for slot in self.free:
            if slot.node is not None and slot.node.node_id == node_id:
                self.release(slot)

    def release_all(self) -> None:
        """Releases every slot."""
        for slot in list(self._slots):
            self.release(slot)

    def _bundle(self) -> dict[str, float]:
        """The resources for one trial: as many CPUs as it has threads, but no more than a node has."""
        gpus = {"GPU": 1.0} if self.uses_gpu else {}
        cpus = [node.get("CPU", 0.0) for node in self._alive().values() if node.get("GPU", 0.0) >= gpus.get("GPU", 0.0)]
        return {"CPU": min(float(self.threads), max([1.0, *cpus])), **gpus}

    def _alive(self) -> dict[str, dict[str, float]]:
        """The resources of the nodes that are alive, by node id, at most a second old."""
        now = time.monotonic()
        if now - self._counted_s >= NODES_INTERVAL_S:
            self._nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
            self._counted_s = now
        return self._nodes


def require_same_versions(node: NodeInfo) -> None:
    """Raises TrialError for a node whose versions are not those of this machine, since losses would differ there."""
    for (name, theirs), (_, ours) in zip(node.versions, installed_versions(), strict=True):
        if theirs != ours:
            raise TrialError(
                f"the node {node.name} of the Ray cluster has {name} {theirs}, this machine {ours}: trials would not compare; "
                f"install {name} {ours} there"
            )


def format_ray_error(fault: BaseException) -> str:
    """The message of Ray's error, or of its cause, in one short line."""
    cause = getattr(fault, "cause", None)
    text = str(cause or fault).strip()
    return textwrap.shorten(text, 200, placeholder=" …") or type(cause or fault).__name__


def _describe_node(uses_gpu: bool) -> NodeInfo:
    """The node of the cluster on which this task runs, with the GPUs that Ray assigned to it where it asked for any."""
    node_id, name = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
    return NodeInfo(node_id, name, installed_versions(), os.environ.get(DEVICES_VARIABLE, "") if uses_gpu else "")
