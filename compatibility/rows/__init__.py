"""Every row of the table, in its order: what trains, what launches it, what wraps the network, and the modes of a training step."""

from __future__ import annotations

from compatibility.rows.launchers import LAUNCHERS
from compatibility.rows.modes import MODES
from compatibility.rows.trainers import TRAINERS
from compatibility.rows.wrappers import WRAPPERS

ROWS = (*TRAINERS, *LAUNCHERS, *WRAPPERS, *MODES)

__all__ = ["ROWS"]
