"""The results that `patch_process` gives for each program, and the remedies that it plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unvanish.record.network_changes import REMEDY_NAMES

NEEDING_BATCH = ("lsuv-init",)
"""Remedies that act nowhere without a batch."""

SINGLE_REMEDIES = [[name] for name in sorted(REMEDY_NAMES - {"learning-rate", *NEEDING_BATCH})]
COMBINATIONS = [["relu", "he-init"], ["he-init", "relu"], ["elu", "batchnorm"], ["adamw", "warmup"], ["selu", "clip-norm"]]


@dataclass(frozen=True)
class PatchResults:
    """Results by program, then by remedies, joined by " + ": of the programs in many styles, and of those for single values."""

    styles: dict[str, dict[str, Any]]
    values: dict[str, dict[str, Any]]
