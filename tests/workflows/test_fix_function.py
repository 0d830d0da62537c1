"""unvanish.fix: a function that trains is cured as a script is, from a module, from the main program, from a notebook's cells."""

from __future__ import annotations

import linecache
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import unvanish
from unvanish.errors import NotApplicable, ObservationError, UnknownRemedy, UsageError
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import LinePlace, Outcome
from unvanish.record.structure import Entry, Location, ModelStructure, Network
from unvanish.testing import records
from unvanish.workflows.fix_function import FunctionFix, _apply_line
from unvanish.workflows.function_process import applied_to_first_optimizer, save_function

CELL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(10))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sigmoid(layer(x))
        return self.head(x)

x = torch.randn(128, 8)
y = (x[:, :4].sum(1) > 0).long()

def train():
    torch.manual_seed(1)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(60):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net
"""


@pytest.fixture(scope="module")
def cell() -> Callable[[], nn.Module]:
    """The function of a cell that was run as a notebook runs it: from no file, its text known to linecache alone."""
    name = "/tmp/ipykernel_0/cell.py"
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)
    place: dict[str, object] = {"__name__": "__main__"}
    exec(compile(CELL, name, "exec"), place)
    return place["train"]  # pyright: ignore[reportReturnType]


@pytest.fixture(scope="module")
def cure(cell: Callable[[], nn.Module]) -> FunctionFix:
    return unvanish.fix(cell, "relu+he-init", seeds=2, quiet=True)


def test_a_functional_activation_in_a_cell_is_cured_and_the_line_is_told(cure: FunctionFix) -> None:
    assert cure.winner == ("relu", "he-init")
    assert [(v.remedies, v.outcome) for v in cure.verdicts] == [(("relu", "he-init"), Outcome.CURED)]
    assert cure.line == 'unvanish.apply(net, "relu", "he-init")'
    assert cure.findings[0].code == "vanishing-gradient"


def test_the_result_reads_as_the_command_line_does_and_draws_its_page(cure: FunctionFix, tmp_path: Path) -> None:
    text = str(cure)
    assert "SICK" in text
    assert "relu + he-init" in text
    assert "cell.py" in text
    assert "train()" in cure.report(tmp_path / "out.html").read_text()


def test_remedies_reach_the_network_and_its_optimizer() -> None:
    with applied_to_first_optimizer(("relu", "he-init"), 0.1):
        net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
        optimizer = torch.optim.SGD(net[0].parameters(), lr=1.0)
    assert isinstance(net[1], nn.ReLU)
    assert {id(p) for p in net[0].parameters()} <= {id(p) for p in optimizer.param_groups[0]["params"]}
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_remedy_that_cannot_act_and_a_network_that_is_none_are_told() -> None:
    with pytest.raises(NotApplicable), applied_to_first_optimizer(("lstm",)):
        torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    with pytest.raises(NotApplicable, match="belong to no module"), applied_to_first_optimizer(("relu",)):
        torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1.0)


def test_the_last_patch_of_the_optimizer_is_taken_back() -> None:
    before = torch.optim.Optimizer.__init__
    with applied_to_first_optimizer(("relu",)):
        assert torch.optim.Optimizer.__init__ is not before
    assert torch.optim.Optimizer.__init__ is before


@pytest.mark.parametrize(
    ("winner", "expression", "line", "place"),
    [
        (Candidate(("relu",)), "optimizer_net", 'unvanish.apply(optimizer_net, "relu")', LinePlace.BEFORE_OPTIMIZER),
        (
            Candidate(("clip-norm",)),
            "net",
            'unvanish.apply(net, "clip-norm", optimizer=optimizer)',
            LinePlace.AFTER_OPTIMIZER,
        ),
        (
            Candidate(("learning-rate",), 0.03),
            "net",
            'for group in optimizer.param_groups: group["lr"] *= 0.03',
            LinePlace.AFTER_OPTIMIZER,
        ),
    ],
    ids=["a network called after the optimizer", "a remedy of the optimizer", "a rate"],
)
def test_the_line_of_a_winner_belongs_behind_the_optimizer_where_it_needs_one(
    winner: Candidate, expression: str, line: str, place: LinePlace
) -> None:
    structure = ModelStructure((Network("net", "Net", Entry(Location("train.py", 3), expression)),))
    assert _apply_line(winner, replace(records.healthy(), structure=structure)) == (line, place)


def test_what_cannot_be_fixed_is_told() -> None:
    lock = threading.Lock()

    def holds_a_lock() -> object:
        return lock

    for train, words in (
        (3, "was given int"),
        (lambda width: width, "called without arguments"),
        (holds_a_lock, "cannot be copied"),
    ):
        with pytest.raises(UsageError, match=words):
            unvanish.fix(train, quiet=True)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownRemedy, match="did you mean 'relu'"):
        unvanish.fix(lambda: None, "rellu", quiet=True)
    with pytest.raises(ObservationError, match="nothing to race"):
        unvanish.fix(lambda: None, quiet=True)


def test_a_function_of_the_main_program_keeps_its_file(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        f"{CELL}\nfrom pathlib import Path\nfrom unvanish.workflows.function_process import save_function\n"
        "save_function(train, Path('f.pkl'))\n"
    )
    subprocess.run([sys.executable, "main.py"], cwd=tmp_path, check=True)
    code = "import pickle; print(pickle.loads(pickle.load(open('f.pkl', 'rb'))[2]).__code__.co_filename)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ended.stdout.strip().endswith("main.py")


def test_a_function_of_a_module_goes_by_name(tmp_path: Path) -> None:
    save_function(test_a_function_of_a_module_goes_by_name, tmp_path / "f.pkl")  # pyright: ignore[reportArgumentType]
    assert b"test_a_function_of_a_module_goes_by_name" in (tmp_path / "f.pkl").read_bytes()
