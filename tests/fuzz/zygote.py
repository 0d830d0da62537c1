"""A process that has imported torch, and ours where it is to watch, and forks a child for each program.

Run as `python zygote.py plain|watched`. Each line of its input is an order in JSON. The answer is the exit code of the child,
which is negative for a signal, or "hangs".
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

KIND = sys.argv[1]


def prepare() -> None:
    """Imports what each child would import; ours by watching and reporting once."""
    import torch
    import torch.utils.checkpoint

    torch.set_num_threads(1)
    if KIND == "watched":
        import unvanish
        import unvanish.cli.main
        import unvanish.workflows.watch_script
        from unvanish.report.page import run_page
        from unvanish.report.terminal import run_report

        network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2))
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        with unvanish.watch(network) as watched:
            for _ in range(8):
                network(torch.ones(3, 2)).sum().backward()
                optimizer.step()
        run_page.render_page(watched.run, watched.findings)
        run_report.render(watched.run, watched.findings, script="")
        torch.manual_seed(torch.initial_seed())
    gc.collect()


def become(order: dict[str, Any]) -> str:
    """Makes this process, a fork, that of a program: its folder, streams, arguments and an empty `__main__`. Its source."""
    os.setsid()
    os.chdir(order["folder"])
    for number, name in enumerate([os.devnull, *order["outputs"]]):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = order["arguments"]
    if KIND == "watched":
        return ""
    sys.path[0] = order["folder"]
    script = str(Path(sys.argv[0]).resolve())
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = script
    return script


def status_of(child: int, limit_s: float) -> int | str:
    """How the child ended; what is left of its session is ended too."""
    deadline = time.monotonic() + limit_s
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            if not ended:
                os.waitpid(child, 0)
            return os.waitstatus_to_exitcode(status) if ended else "hangs"
        time.sleep(0.005)


prepare()
for line in sys.stdin:
    given = json.loads(line)
    forked = os.fork()
    if forked == 0:
        path = become(given)
        if KIND == "watched":
            from unvanish.cli.main import main as run_unvanish

            run_unvanish()
        exec(compile(Path(path).read_text(), path, "exec"), sys.modules["__main__"].__dict__)
        sys.exit(0)
    print(json.dumps(status_of(forked, given["limit_s"])), flush=True)
