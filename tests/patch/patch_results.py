"""What the process in `rehearsing` says of the scripts, and what it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unvanish.record.change import REMEDY_NAMES

BATCHED = ("lsuv-init",)
"""What cannot act without a batch, anywhere."""

EVERYWHERE = [[name] for name in sorted(REMEDY_NAMES - {"learning-rate", *BATCHED})]
TOGETHER = [["relu", "he-init"], ["he-init", "relu"], ["elu", "batchnorm"], ["adamw", "warmup"], ["selu", "clip-norm"]]


@dataclass(frozen=True)
class Handled:
    """By program, then by remedies, joined by " + "."""

    everywhere: dict[str, dict[str, Any]]
    spots: dict[str, dict[str, Any]]
