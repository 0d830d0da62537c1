"""The checkpoint of a cured script, as a user sees it: train.py saves the network, predict.py builds it anew and loads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unvanish.patch import edit_sources
from unvanish.record.network_changes import Edit, ModuleOrigin, PatchContext, Plan, PlanStep
from unvanish.record.structure import Entry, Location

MODEL = """\
from torch import nn


class Deep(nn.Module):
    def __init__(self, width=16, depth=10):
        super().__init__()
        self.first = nn.Linear(8, width)
        layers = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.body(self.first(x)))
"""

DATA = """\
import torch


def make(seed):
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, :4].sum(1) > 0).long()


def accuracy(net, seed=2):
    x, y = make(seed)
    return (net.eval()(x).argmax(1) == y).float().mean().item()
"""

TRAIN = """\
import torch
from data import accuracy, make
from model import Deep

torch.manual_seed(0)
x, y = make(1)
net = Deep()
opt = torch.optim.Adam(net.parameters(), lr=1e-2)
for _ in range(60):
    loss = torch.nn.functional.cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
result = accuracy(net)
torch.save(net.state_dict(), "net.pt")
"""

PREDICT = """\
import torch
from data import accuracy
from model import Deep

net = Deep()
net.load_state_dict(torch.load("net.pt"))
result = accuracy(net)
"""

FILES = {"model.py": MODEL, "data.py": DATA, "train.py": TRAIN, "predict.py": PREDICT}

RUN_ALL = """\
import json, os, runpy, sys

import torch

torch.set_num_threads(1)  # small matrices, and other tests beside this one

def result_of(script):
    for name in ("data", "model"):
        sys.modules.pop(name, None)
    sys.path[0] = os.getcwd()
    try:
        return runpy.run_path(script)["result"]
    except RuntimeError as fault:
        return str(fault)

results = {}
for folder in sys.argv[1:]:
    os.chdir(folder)
    results[os.path.basename(folder)] = [result_of("train.py"), result_of("predict.py")]
print(json.dumps(results))
"""


def residual_texts() -> dict[str, str]:
    """The files with the plan of `residual` written into them."""
    line = Location("model.py", 10, MODEL.splitlines()[9].strip())
    linear = "Linear(in_features=16, out_features=16, bias=True)"
    edits: list[Edit] = []
    origins = [ModuleOrigin("", "Deep", Location("train.py", 7, "net = Deep()"))]
    for index in range(0, 20, 2):
        edits.append(Edit("insert", f"body.{index}", linear, f"Residual({linear}, Sigmoid())"))
        edits.append(Edit("remove", f"body.{index + 1}", "Sigmoid()", "Identity()"))
        origins += [ModuleOrigin(f"body.{index}", "Linear", line), ModuleOrigin(f"body.{index + 1}", "Sigmoid", line)]
    entry = Entry(Location("train.py", 8, TRAIN.splitlines()[7]), "net")
    plan = Plan(("residual",), (PlanStep("residual", tuple(edits)),))
    texts = edit_sources(plan, PatchContext(entry, tuple(origins)), lambda path: FILES[path.name])
    return {path.name: text for path, text in texts.items()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What train.py and predict.py came to, patched as a plan is written, and with the remedy applied in train.py alone."""
    line = TRAIN.replace("net = Deep()\n", 'net = Deep()\nunvanish.apply(net, "residual")\n')
    variants = {"patched": residual_texts(), "applied": {"train.py": f"import unvanish\n{line}"}}
    folders: list[str] = []
    for name, texts in variants.items():
        folder = tmp_path_factory.mktemp("checkpoint") / name
        folder.mkdir()
        for file, text in (FILES | texts).items():
            (folder / file).write_text(text)
        folders.append(str(folder))
    run = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *folders], check=True, capture_output=True, text=True, timeout=240, cwd=Path.cwd()
    )
    return json.loads(run.stdout.splitlines()[-1])


def test_the_patch_is_where_the_network_is_built_and_plain_pytorch() -> None:
    texts = residual_texts()
    assert texts.keys() == {"model.py"}
    assert "            layers += [Residual(nn.Linear(width, width), nn.Sigmoid())]\n" in texts["model.py"]
    assert texts["model.py"].count("class Residual(nn.Module):") == 1
    assert "unvanish" not in texts["model.py"]


def test_a_script_that_knows_nothing_of_the_patch_loads_the_cured_network(results: dict[str, list[Any]]) -> None:
    trained, predicted = results["patched"]
    assert trained == predicted > 0.8


def test_a_network_that_was_cured_in_memory_alone_is_refused_in_words(results: dict[str, list[Any]]) -> None:
    trained, refusal = results["applied"]
    assert trained > 0.8
    assert "changed by unvanish: residual" in refusal
