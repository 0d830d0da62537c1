"""The call stands on a line of its own where it can, the import with the others, and the diff is one that git takes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from unvanish.errors import TrialError
from unvanish.patch import before_optimizer, behind_optimizer, unified
from unvanish.patch.apply_lines import rate_scaled_behind

SCRIPT = '''"""A script."""
from __future__ import annotations

import torch
from torch import (
    nn,
)

net = nn.Linear(2, 1)  # small
optimizer = torch.optim.SGD(
    net.parameters(),
    lr=0.5,
)
for step in range(3):
    optimizer.step()
'''
LINE = 10


def test_the_import_joins_the_others_and_the_call_stands_before_the_optimizer() -> None:
    edited = before_optimizer(SCRIPT, LINE, "net", ("relu", "he-init"))
    assert edited == SCRIPT.replace("    nn,\n)\n", "    nn,\n)\nimport unvanish\n").replace(
        "optimizer = torch", 'unvanish.apply(net, "relu", "he-init")\noptimizer = torch'
    )


def test_a_remedy_of_the_optimizer_stands_behind_it_and_gets_it() -> None:
    edited = behind_optimizer(SCRIPT, LINE, "net", ("clip-norm",))
    assert '    lr=0.5,\n)\nunvanish.apply(net, "clip-norm", optimizer=optimizer)\nfor step' in edited


@pytest.mark.parametrize("edit", [before_optimizer, behind_optimizer])
def test_twice_is_the_same_as_once(edit: Callable[[str, int, str, Sequence[str]], str]) -> None:
    once = edit(SCRIPT, LINE, "net", ("relu",))
    at = next(i for i, line in enumerate(once.splitlines(), start=1) if "optim.SGD" in line)
    assert edit(once, at, "net", ("relu",)) == once


def test_indentation_and_shared_lines_are_respected() -> None:
    inside = "def f(net):\n\topt = SGD(net)\n\treturn opt\n"
    assert before_optimizer(inside, 2, "net", ("relu",)) == (
        'import unvanish\ndef f(net):\n\tunvanish.apply(net, "relu")\n\topt = SGD(net)\n\treturn opt\n'
    )
    shared = "import torch; net = Net(); opt = SGD(net)\ngo(opt)\n"
    assert before_optimizer(shared, 1, "net", ("relu",)) == (
        'import unvanish\nimport torch; net = Net(); unvanish.apply(net, "relu"); opt = SGD(net)\ngo(opt)\n'
    )
    assert behind_optimizer(shared, 1, "net", ("warmup",)) == (
        'import unvanish\nimport torch; net = Net(); opt = SGD(net); unvanish.apply(net, "warmup", optimizer=opt)\ngo(opt)\n'
    )


@pytest.mark.parametrize("written", ["return SGD(net)  # ours", "return(SGD(net))  # ours", "return SGD(\n        net)  # ours"])
def test_an_optimizer_that_is_returned_gets_a_name(written: str) -> None:
    value = written.removeprefix("return").strip()
    assert behind_optimizer(f"def f(net):\n    {written}\n", 2, "net", ("clip-norm",)) == (
        f"import unvanish\ndef f(net):\n    optimizer = {value}\n"
        '    unvanish.apply(net, "clip-norm", optimizer=optimizer)\n    return optimizer\n'
    )


def test_an_optimizer_without_a_name_is_refused() -> None:
    with pytest.raises(TrialError, match="no name"):
        behind_optimizer("train(net, SGD(net))\n", 1, "net", ("clip-norm",))
    with pytest.raises(TrialError, match="several statements"):
        rate_scaled_behind("opt = SGD(net, RATE); go(opt)\n", 1, "net", 10.0)


def test_a_rate_is_scaled_behind_the_optimizer() -> None:
    source = "opt = SGD(net, lr=RATE)\ngo(opt)"
    assert rate_scaled_behind(source, 1, "net", 10.0) == (
        'opt = SGD(net, lr=RATE)\nfor group in opt.param_groups: group["lr"] *= 10\ngo(opt)'
    )


@pytest.mark.parametrize("source", [SCRIPT, SCRIPT.rstrip("\n"), SCRIPT.replace("\n", "\r\n"), SCRIPT + "x = '\x0c\x1c'\n"])
def test_git_takes_the_diff(source: str, tmp_path: Path) -> None:
    edited = before_optimizer(source, LINE, "net", ("relu",))
    file = tmp_path / "train.py"
    file.write_bytes(source.encode())
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    diff = unified("train.py", source, edited)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff.encode(), check=True)
    assert file.read_bytes() == edited.encode()
    assert unified("train.py", source, source) == ""
