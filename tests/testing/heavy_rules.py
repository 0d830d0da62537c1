"""A rule in a module that imports torch, which is not allowed."""

from __future__ import annotations

import torch
from sample_rules import Carded


class Loaded(Carded):
    """As QuietLayer, from a module that needs torch."""

    uses = torch.__name__
