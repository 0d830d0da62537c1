"""Where a library builds a network or its optimizer, the lines are those of the project that called the library."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from unvanish.observe import Observer, Settings, StopTraining, collect_facts
from unvanish.observe.first_network_call import FirstCall
from unvanish.record.network_changes import ModuleOrigin
from unvanish.record.run import Run
from unvanish.record.storage.journal import Journal
from unvanish.trials.script.execution import Script, execute

LIBRARY = """
import torch
from torch import nn

SHARED = nn.Tanh()  # built when the project imports the library

class Block(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), *inner)

    def forward(self, x):
        return torch.sigmoid(self.inner(x))

class Trainer:
    def __init__(self, model):
        self.model = model

    def fit(self):
        if isinstance(self.model, type):
            self.model = self.model()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        loss = self.model(torch.ones(3, 4)).sum()
        loss.backward()
        optimizer.step()
"""
IMPORTS = "from torch import nn\nfrom trainerlib import Block, Trainer\n"
PROGRAMS = {
    "a block of a library's": """
        net = nn.Sequential(Block(nn.ReLU()), nn.Tanh())
        trainer = Trainer(net)
        trainer.fit()
        """,
    "a network without a name": """
        trainer = Trainer(nn.Sequential(Block(nn.ReLU()), nn.Tanh()))
        trainer.fit()
        """,
    "a network that the trainer builds": """
        class Net(nn.Sequential):
            def __init__(self):
                super().__init__(Block(nn.ReLU()), nn.Tanh())
        trainer = Trainer(Net)
        trainer.fit()
        """,
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "env" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "trainerlib.py").write_text(LIBRARY)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", [sys.path[0], str(folder), *sys.path[1:]])  # the first gives way to the script's folder
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.delitem(sys.modules, "trainerlib", raising=False)


def observe_program(folder: Path, text: str) -> tuple[FirstCall, Run]:
    """The first call of the program's network, and the record of its first step."""
    (folder / "train.py").write_text(IMPORTS + textwrap.dedent(text).lstrip())
    journal, calls = Journal.create(None), list[FirstCall]()
    observer = Observer(journal, collect_facts("train.py"), settings=Settings(max_steps=1), examine=calls.append)
    observer.attach()
    try:
        execute(Script(folder / "train.py"), stop_exceptions=(StopTraining,))
    finally:
        observer.close("finished")
    run = journal.read()
    journal.close()
    (call,) = calls
    return call, run


def lines(origins: tuple[ModuleOrigin, ...]) -> dict[str, tuple[int | None, bool]]:
    return {o.path: (o.location.line if o.location is not None else None, o.through_library) for o in origins}


@pytest.mark.parametrize(
    ("program", "root", "own", "entry"),
    [
        ("a block of a library's", (3, False), 3, (5, "net")),
        ("a network without a name", (3, False), 3, (4, "trainer.model")),
        ("a network that the trainer builds", (7, True), 5, None),
    ],
)
@pytest.mark.usefixtures("library")
def test_modules_and_the_entry_have_the_innermost_line_of_the_project(
    program: str, root: tuple[int, bool], own: int, entry: tuple[int, str] | None, tmp_path: Path
) -> None:
    call, run = observe_program(tmp_path, PROGRAMS[program])
    assert lines(call.origins) == {
        "": root,
        "0": (own, False),
        "0.inner": (own, True),
        "0.inner.0": (own, True),
        "0.inner.1": (own, True),
        "0.inner.2": (own, False),
        "1": (own, False),
    }
    assert call.outside_modules == ()
    located = call.entry
    assert (None if located is None else (located.location.line, located.expression)) == entry
    files = {origin.location.file for origin in call.origins if origin.location is not None}
    sites = {site.location.file for site in run.structure.sites if site.location is not None}
    assert files == sites == {str(tmp_path / "train.py")}
