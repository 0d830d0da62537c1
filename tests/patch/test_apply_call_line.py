"""The inserted call has a line of its own where it can, the import stands with the others, and git takes the diff."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from unvanish.errors import TrialError
from unvanish.patch import insert_apply_after_optimizer, insert_apply_before_optimizer, unified_diff
from unvanish.patch.apply_call_line import add_rate_scaling_after

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
    edited = insert_apply_before_optimizer(SCRIPT, LINE, "net", ("relu", "he-init"))
    assert edited == SCRIPT.replace("    nn,\n)\n", "    nn,\n)\nimport unvanish\n").replace(
        "optimizer = torch", 'unvanish.apply(net, "relu", "he-init")\noptimizer = torch'
    )


def test_a_remedy_for_the_optimizer_stands_behind_it_and_gets_it() -> None:
    edited = insert_apply_after_optimizer(SCRIPT, LINE, "net", ("clip-norm",))
    assert '    lr=0.5,\n)\nunvanish.apply(net, "clip-norm", optimizer=optimizer)\nfor step' in edited


@pytest.mark.parametrize("insert", [insert_apply_before_optimizer, insert_apply_after_optimizer])
def test_a_second_insertion_changes_nothing(insert: Callable[[str, int, str, Sequence[str]], str]) -> None:
    once = insert(SCRIPT, LINE, "net", ("relu",))
    line = next(i for i, text in enumerate(once.splitlines(), start=1) if "optim.SGD" in text)
    assert insert(once, line, "net", ("relu",)) == once


def test_indentation_and_shared_lines_are_respected() -> None:
    inside = "def f(net):\n\topt = SGD(net)\n\treturn opt\n"
    assert insert_apply_before_optimizer(inside, 2, "net", ("relu",)) == (
        'import unvanish\ndef f(net):\n\tunvanish.apply(net, "relu")\n\topt = SGD(net)\n\treturn opt\n'
    )
    shared = "import torch; net = Net(); opt = SGD(net)\ngo(opt)\n"
    assert insert_apply_before_optimizer(shared, 1, "net", ("relu",)) == (
        'import unvanish\nimport torch; net = Net(); unvanish.apply(net, "relu"); opt = SGD(net)\ngo(opt)\n'
    )
    assert insert_apply_after_optimizer(shared, 1, "net", ("warmup",)) == (
        'import unvanish\nimport torch; net = Net(); opt = SGD(net); unvanish.apply(net, "warmup", optimizer=opt)\ngo(opt)\n'
    )


@pytest.mark.parametrize("statement", ["return SGD(net)  # ours", "return(SGD(net))  # ours", "return SGD(\n        net)  # ours"])
def test_an_optimizer_that_is_returned_gets_a_name(statement: str) -> None:
    value = statement.removeprefix("return").strip()
    assert insert_apply_after_optimizer(f"def f(net):\n    {statement}\n", 2, "net", ("clip-norm",)) == (
        f"import unvanish\ndef f(net):\n    optimizer = {value}\n"
        '    unvanish.apply(net, "clip-norm", optimizer=optimizer)\n    return optimizer\n'
    )


def test_a_name_that_the_statement_reads_is_not_assigned_to() -> None:
    source = "import optimizer\ndef f(net):\n    return optimizer.SGD(net)\n"
    assert insert_apply_after_optimizer(source, 3, "net", ("clip-norm",)) == (
        "import optimizer\nimport unvanish\ndef f(net):\n    new_optimizer = optimizer.SGD(net)\n"
        '    unvanish.apply(net, "clip-norm", optimizer=new_optimizer)\n    return new_optimizer\n'
    )


def test_an_optimizer_without_a_name_is_refused() -> None:
    with pytest.raises(TrialError, match="no name"):
        insert_apply_after_optimizer("train(net, SGD(net))\n", 1, "net", ("clip-norm",))
    with pytest.raises(TrialError, match="several statements"):
        add_rate_scaling_after("opt = SGD(net, RATE); go(opt)\n", 1, "net", 10.0)


def test_a_rate_is_scaled_behind_the_optimizer() -> None:
    source = "opt = SGD(net, lr=RATE)\ngo(opt)"
    assert add_rate_scaling_after(source, 1, "net", 10.0) == (
        'opt = SGD(net, lr=RATE)\nfor group in opt.param_groups: group["lr"] *= 10\ngo(opt)'
    )


@pytest.mark.parametrize("source", [SCRIPT, SCRIPT.rstrip("\n"), SCRIPT.replace("\n", "\r\n"), SCRIPT + "x = '\x0c\x1c'\n"])
def test_git_takes_the_diff(source: str, tmp_path: Path) -> None:
    edited = insert_apply_before_optimizer(source, LINE, "net", ("relu",))
    file = tmp_path / "train.py"
    file.write_bytes(source.encode())
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    diff = unified_diff("train.py", source, edited)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff.encode(), check=True)
    assert file.read_bytes() == edited.encode()
    assert unified_diff("train.py", source, source) == ""
