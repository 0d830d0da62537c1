"""Puts an order to follow into the environment of the programs that this process starts, without this process's script seeing it.

The C environment, which child processes inherit, gets the order and the folder of our `sitecustomize`; `os.environ` does not. Where
a script gives a child an environment of its own, `subprocess.Popen` adds them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, final

from unvanish.monkey_patch import CallablePatch
from unvanish.trials.children.follow_order import FOLLOW, STARTUP_FOLDER, FollowOrder

_ENV_POSITION = 11  # of `env` among the parameters of Popen, counted from `self`
PYTHONPATH = "PYTHONPATH"


@final
class ChildEnvironment:
    """The order in the environment of child processes, from `install` to `remove`."""

    def __init__(self, order: FollowOrder, variables: Mapping[str, str] | None = None) -> None:
        self._variables = {FOLLOW: order.encode(), **(variables or {})}
        self._patch = CallablePatch(subprocess.Popen, "__init__", self._start)

    def install(self) -> None:
        """From now on, programs that this process starts get the order."""
        for name, value in self._with_order(os.environ).items():
            if name in self._variables or name == PYTHONPATH:
                os.putenv(name, value)
        self._patch.install()

    def remove(self) -> None:
        """Gives child processes the environment that the script sees."""
        self._patch.remove()
        for name in (*self._variables, PYTHONPATH):
            if name in os.environ:
                os.putenv(name, os.environ[name])
            else:
                os.unsetenv(name)

    def _with_order(self, environment: Mapping[str, str]) -> dict[str, str]:
        paths = [path for path in environment.get(PYTHONPATH, "").split(os.pathsep) if path and path != str(STARTUP_FOLDER)]
        return {**environment, **self._variables, PYTHONPATH: os.pathsep.join([str(STARTUP_FOLDER), *paths])}

    def _start(self, original: Callable[..., None], /, *args: Any, **kwargs: Any) -> None:
        environment = args[_ENV_POSITION] if len(args) > _ENV_POSITION else kwargs.get("env")
        if environment is not None and all(isinstance(name, str) for name in environment):
            environment = self._with_order(environment)
            if len(args) > _ENV_POSITION:
                args = (*args[:_ENV_POSITION], environment, *args[_ENV_POSITION + 1 :])
            else:
                kwargs["env"] = environment
        original(*args, **kwargs)
