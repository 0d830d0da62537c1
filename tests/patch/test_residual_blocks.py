"""Tests of residual connections in a source: blocks around layers and their activations, and gates behind branches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unvanish.patch import edit_sources
from unvanish.patch.source.definitions import defined_rows
from unvanish.record.network_changes import CallExchange, Edit, ModuleOrigin, PatchContext, Plan, PlanStep, SourcePoint
from unvanish.record.structure import Entry, Location

PATH = Path("train.py")
LINEAR = "Linear(in_features=8, out_features=8, bias=True)"

CHAIN = """\
import torch
from torch import nn

net = nn.Sequential(
    nn.Linear(8, 8),
    nn.Tanh(),
    nn.Linear(8, 2),
)
opt = torch.optim.Adam(net.parameters())
"""

CALLS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(x)))


net = Net()
opt = torch.optim.Adam(net.parameters())
"""


def located(source: str, piece: str) -> Location:
    line = next(number for number, text in enumerate(source.splitlines(), start=1) if piece in text)
    return Location("train.py", line, source.splitlines()[line - 1].strip())


def patched(source: str, edits: Sequence[Edit], origins: Sequence[tuple[str, str, str]]) -> str:
    """A source with the edits of residual; origins are module paths with their classes and a piece of their lines."""
    entry = Entry(located(source, "torch.optim."), "net")
    modules = tuple(ModuleOrigin(path, name, located(source, piece)) for path, name, piece in origins)
    plan = Plan(("residual",), (PlanStep("residual", tuple(edits)),))
    context = PatchContext(entry, modules)
    text = edit_sources(plan, context, lambda _: source)[PATH]
    if "unvanish" not in text:
        assert edit_sources(plan, context, lambda _: text) == {}
    return text


BLOCK = [Edit("insert", "0", LINEAR, f"Residual({LINEAR}, Tanh())"), Edit("remove", "1", "Tanh()", "Identity()")]
CHAIN_ORIGINS = [("", "Sequential", "nn.Sequential"), ("0", "Linear", "nn.Linear(8, 8)"), ("1", "Tanh", "nn.Tanh()")]


def test_a_layer_and_its_activation_become_one_block() -> None:
    text = patched(CHAIN, BLOCK, CHAIN_ORIGINS)
    assert "    Residual(nn.Linear(8, 8),\n    nn.Tanh()),\n    nn.Linear(8, 2),\n" in text
    assert "arXiv 2003.04887" in text


def test_what_stands_between_a_layer_and_its_activation_is_not_taken_for_it() -> None:
    source = CHAIN.replace("    nn.Tanh(),\n", "    nn.Dropout(0.1),\n    nn.Tanh(),\n")
    assert 'unvanish.apply(net, "residual")' in patched(source, BLOCK, CHAIN_ORIGINS)


def test_a_call_in_forward_moves_into_the_block() -> None:
    line = CALLS.splitlines().index("        return self.head(torch.tanh(self.hidden(x)))") + 1
    end = len("        return self.head(torch.tanh(self.hidden(x))")
    call = CallExchange((SourcePoint("train.py", line, end),), "tanh(x)", "x", CALLS.splitlines()[line - 1].strip())
    edits = [Edit("insert", "hidden", LINEAR, f"Residual({LINEAR}, Tanh())"), Edit("replace", "", "tanh(x)", "x", (call,))]
    origins = [("", "Net", "net = Net()"), ("hidden", "Linear", "self.hidden"), ("head", "Linear", "self.head")]
    text = patched(CALLS, edits, origins)
    assert "self.hidden = Residual(nn.Linear(8, 8), nn.Tanh())" in text
    assert "return self.head(self.hidden(x))" in text


def test_a_branch_ends_in_a_gate_that_starts_at_zero() -> None:
    source = CALLS.replace("self.head(torch.tanh(self.hidden(x)))", "self.head(x + self.hidden(torch.tanh(x)))")
    origins = [("", "Net", "net = Net()"), ("hidden", "Linear", "self.hidden = "), ("head", "Linear", "self.head = ")]
    text = patched(source, [Edit("insert", "hidden", LINEAR, f"{LINEAR}, Gate()")], origins)
    assert "self.hidden = nn.Sequential(nn.Linear(8, 8), Gate())" in text
    assert text.count("class Gate(nn.Module):") == 1


def test_a_tuple_that_is_unpacked_gets_no_further_item() -> None:
    source = CALLS.replace(
        "        self.hidden = nn.Linear(8, 8)\n        self.head = nn.Linear(8, 2)\n",
        "        self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 2)\n",
    )
    line = located(source, "self.hidden, self.head")
    modules = (ModuleOrigin("hidden", "Linear", line), ModuleOrigin("head", "Linear", line))
    entry = Entry(located(source, "torch.optim."), "net")
    plan = Plan(("standardise-input",), (PlanStep("x", (Edit("insert", "hidden", LINEAR, f"Standardise(8), {LINEAR}"),)),))
    text = edit_sources(plan, PatchContext(entry, modules), lambda _: source)[PATH]
    assert "self.hidden, self.head = nn.Sequential(Standardise(8), nn.Linear(8, 8)), nn.Linear(8, 2)" in text


def test_a_class_of_the_users_with_the_name_of_a_definition_is_not_taken_for_it() -> None:
    own = "class Residual(nn.Module):\n    pass\n\n\n"
    source = CHAIN.replace("net = ", f"{own}net = ")
    assert 'unvanish.apply(net, "residual")' in patched(source, BLOCK, CHAIN_ORIGINS)
    assert defined_rows(source.splitlines()) == set()
