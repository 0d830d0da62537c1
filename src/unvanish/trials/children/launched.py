"""Has a process watched that a watched script, or a launcher, has started: `sitecustomize` calls this as torch is imported."""

from __future__ import annotations

import sys

from unvanish.trials.children.environment import ChildEnvironment
from unvanish.trials.children.follow_order import FollowOrder
from unvanish.trials.children.following import ProcessFollower


def begin_at_import(text: str) -> None:
    """Waits for the end of torch's import, and then for a training; `text` is the encoded order."""
    order = FollowOrder.decode(text)
    if order.prefix != sys.prefix:
        return
    ChildEnvironment(order).install()
    ProcessFollower(order).watch()
