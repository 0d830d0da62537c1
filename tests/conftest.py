"""What holds for every test: one thread, and nothing of ours left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_hooks

HOOKS = (
    (module_hooks, "_global_forward_pre_hooks"),
    (module_hooks, "_global_forward_hooks"),
    (module_hooks, "_global_backward_hooks"),
    (optimizer_hooks, "_global_optimizer_pre_hooks"),
    (optimizer_hooks, "_global_optimizer_post_hooks"),
)
WRAPPED = (
    (torch.autograd.graph, "_engine_run_backward"),
    (torch.autograd, "_engine_run_backward"),
    (module_hooks, "_has_any_global_hook"),
    (nn.Module, "__init__"),
    (Optimizer, "__init__"),
    (torch.amp.grad_scaler.GradScaler, "scale"),
)

PROGRESS_BARS = "tqdm_monitor"  # a thread of tqdm's, which torch's compiler uses where it is installed


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves a hook, a wrapped callable, a function mode, a thread or an open file of ours behind."""
    torch.set_num_threads(1)
    wrapped = [getattr(owner, name) for owner, name in WRAPPED]
    threads, files = set(threading.enumerate()), open_runs()
    yield
    assert [len(getattr(owner, name)) for owner, name in HOOKS] == [0] * len(HOOKS), "a hook was left behind"
    assert [getattr(owner, name) for owner, name in WRAPPED] == wrapped, "a wrapped callable was left behind"
    assert torch.overrides._len_torch_function_stack() == 0, "a function mode was left behind"
    left = {thread for thread in threading.enumerate() if thread.is_alive() and thread.name != PROGRESS_BARS} - threads
    assert not left, "a thread was left behind"
    assert open_runs() <= files, "a run's file was left open"


def open_runs() -> set[str]:
    """The run files that this process holds open."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return set()
    targets: set[str] = set()
    for link in folder.iterdir():
        if link.is_symlink():
            target = str(link.readlink()) if link.exists() else ""
            if ".sqlite" in target:
                targets.add(target)
    return targets
