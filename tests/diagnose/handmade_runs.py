"""Runs made by hand, as `unvanish.testing.records` offers them to everybody: healthy ones, and ways to make them sick."""

from __future__ import annotations

from unvanish.testing.records import (
    HEALTHY,
    LAYERS,
    SAMPLED,
    STEPS,
    WIDTH,
    anatomy,
    falling,
    flat,
    healthy,
    kinds,
    opponents,
    owned,
    reading,
    slope,
)

__all__ = [
    "HEALTHY",
    "LAYERS",
    "SAMPLED",
    "STEPS",
    "WIDTH",
    "anatomy",
    "falling",
    "flat",
    "healthy",
    "kinds",
    "opponents",
    "owned",
    "reading",
    "slope",
]
