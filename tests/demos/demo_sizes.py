"""Every demo at a size that takes a second or two: the same code with fewer and smaller trainings."""

from __future__ import annotations

from collections.abc import Mapping

from unvanish.demos.activations import Activations
from unvanish.demos.demo import Demo
from unvanish.demos.memory import Memory
from unvanish.demos.plain_deep import PlainDeep
from unvanish.demos.small_batches import SmallBatches
from unvanish.demos.ten_thousand_layers import TenThousandLayers

TOYS: Mapping[str, Demo] = {
    "activations": Activations(depths=(2, 3), seeds=(0, 1), width=8, epochs=1),
    "ten-thousand-layers": TenThousandLayers(layers=6, width=8, steps=3, batch=64),
    "memory": Memory(lengths=(6,), seeds=(0, 1), hidden=4, steps=3, batch=8),
    "small-batches": SmallBatches(batches=(1, 2, 500), seeds=(0,), layers=3, width=8, epochs=0.02),
    "plain-deep": PlainDeep(layers=4, channels=4, epochs=1, seeds=(0,)),
}
