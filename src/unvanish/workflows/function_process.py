"""Copies a function that trains a network to a process of its own and runs it there, with remedies applied to the network when its
optimizer is built.

`save_function` is called in the user's process; the script that a trial runs calls `run_function`. Code keeps the names of its
files and, where these are cells of a notebook, their text: remedies read the source of what they edit.
"""

from __future__ import annotations

import gc
import io
import linecache
import marshal
import pickle
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from unvanish.monkey_patch import CallablePatch


def save_function(train: Callable[[], Any], path: Path) -> None:
    """Writes a function to a file, by value where it can be imported from no module, with all that it refers to.

    Raises what pickling raises.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # code by its bytes, since cloudpickle's own way drops the file that it came from
        def reducer_override(self, obj: Any) -> Any:
            return (marshal.loads, (marshal.dumps(obj),)) if isinstance(obj, CodeType) else super().reducer_override(obj)

    function = io.BytesIO()
    Pickler(function).dump(train)
    cells = {name: entry[2] for name, entry in linecache.cache.items() if len(entry) > 2 and not Path(name).exists()}
    path.write_bytes(pickle.dumps((sys.path, cells, function.getvalue())))


def run_function(file: str, remedies: Sequence[str] = (), rate_factor: float = 1.0) -> None:
    """Calls the function that is kept in a file, with the remedies applied."""
    paths, cells, function = pickle.loads(Path(file).read_bytes())
    sys.path[:] = list(dict.fromkeys([*paths, *sys.path]))
    linecache.cache.update({name: (sum(map(len, lines)), None, lines, name) for name, lines in cells.items()})
    train = pickle.loads(function)
    with applied_to_first_optimizer(remedies, rate_factor):
        train()


@contextmanager
def applied_to_first_optimizer(remedies: Sequence[str], rate_factor: float = 1.0) -> Generator[None]:
    """A context in which remedies are applied to the first network that gets an optimizer, and its learning rate is multiplied."""
    from torch.optim import Optimizer

    treated: list[Optimizer] = []

    def init_optimizer(original: Callable[..., Any], optimizer: Optimizer, /, *args: Any, **kwargs: Any) -> None:
        original(optimizer, *args, **kwargs)
        if not treated:
            treated.append(optimizer)
            _apply(optimizer, remedies, rate_factor)

    with CallablePatch(Optimizer, "__init__", init_optimizer):
        yield


def _apply(optimizer: Any, remedies: Sequence[str], rate_factor: float) -> None:
    from unvanish.plugins.remedies import apply

    if remedies:
        apply(_network_of(optimizer), *remedies, optimizer=optimizer)
    for group in optimizer.param_groups:
        group["lr"] *= rate_factor


def _network_of(optimizer: Any) -> Any:
    """The outermost module that holds the optimizer's first parameter. Raises NotApplicable where none does."""
    from torch import nn

    from unvanish.errors import NotApplicable

    first = optimizer.param_groups[0]["params"][0]
    modules = (thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module))
    owners = [module for module in modules if any(parameter is first for parameter in module.parameters())]
    if not owners:
        raise NotApplicable("the optimizer's parameters belong to no module, so there is no network to change")
    return max(owners, key=lambda module: sum(1 for _ in module.modules()))
