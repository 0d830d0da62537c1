"""The names of the demos, with a summary, their duration and their class, which is imported on demand."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from unvanish.errors import UsageError

if TYPE_CHECKING:
    from unvanish.demos.demo import Demo


@dataclass(frozen=True, slots=True)
class DemoEntry:
    """The name, summary and duration of one demo.

    `minutes` was measured on two cores that other work shared. `class_path` is "module:Class" in `unvanish.demos`.
    """

    name: str
    summary: str
    minutes: int
    class_path: str

    def load(self) -> Demo:
        """The demo at full size. Imports torch."""
        module, _, class_name = self.class_path.partition(":")
        return getattr(import_module(f"unvanish.demos.{module}"), class_name)()


_ENTRIES = (
    DemoEntry(
        "activations",
        "five activation functions at 10, 30 and 50 layers: how much gradient is lost at the start, and what is learned",
        2,
        "activations:Activations",
    ),
    DemoEntry(
        "ten-thousand-layers",
        "a plain tanh network of 10,000 layers, as it is and with critical-init",
        12,
        "ten_thousand_layers:TenThousandLayers",
    ),
    DemoEntry("memory", "what a recurrent network must remember for 100 and 200 steps: RNN against LSTM", 6, "memory:Memory"),
    DemoEntry(
        "small-batches", "batches of one and two images: batch normalisation against online-norm", 4, "small_batches:SmallBatches"
    ),
    DemoEntry(
        "plain-deep", "fifty convolutions in a row, without skips: tailored-activation against a ResNet", 6, "plain_deep:PlainDeep"
    ),
)
DEMOS: Mapping[str, DemoEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def find_demo(name: str) -> DemoEntry:
    """The entry of that name. Raises UsageError, with the nearest name, where there is none."""
    key = name.lower().replace("_", "-")
    if key in DEMOS:
        return DEMOS[key]
    nearest = difflib.get_close_matches(key, DEMOS, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]}?" if nearest else "leave the name out for the demo of the whole story"
    raise UsageError(f"there is no demo called {name}; {hint} The demos are {', '.join(DEMOS)}")
