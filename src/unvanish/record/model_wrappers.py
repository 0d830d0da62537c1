"""The classes of modules that only run another module, and the attribute under which they hold it."""

from __future__ import annotations

from collections.abc import Mapping

# By name, so that neither torch's compiler nor its distributed package is loaded to tell.
WRAPPED_ATTRIBUTES: Mapping[str, str] = {
    "OptimizedModule": "_orig_mod",  # what torch.compile returns
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}
DATA_PARALLEL = frozenset({"DataParallel", "DistributedDataParallel"})  # those that run it on parts of a batch
