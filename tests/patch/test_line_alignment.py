"""What a plan needs to be written in place, and what becomes of it else: told by blueprints that are made by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.errors import ScriptError, TrialError
from unvanish.patch import written
from unvanish.record.change import Edit, ModuleOrigin, PatchContext, Plan, PlanStep
from unvanish.record.structure import Entry, Location

FILE = Path("/somewhere/train.py")
SOURCE = """\
import torch
from torch import nn

net = nn.Sequential(
    nn.Linear(4, 8),
    nn.Sigmoid(),
    nn.Linear(8, 2),
)
RATE = 1e-4
opt = torch.optim.Adam(net.parameters(), lr=RATE)
"""
RELU = Edit("replace", "1", "Sigmoid()", "ReLU()")


def text_of(text: str) -> Callable[[Path], str]:
    return lambda path: text


def located(text: str, line: int) -> Location:
    return Location(str(FILE), line, text.splitlines()[line - 1].strip())


def line_of(text: str, piece: str) -> int:
    return next(at for at, line in enumerate(text.splitlines(), start=1) if piece in line)


def blueprint(text: str = SOURCE, *, others: tuple[ModuleOrigin, ...] = (), entry: bool = True) -> PatchContext:
    """The network of SOURCE, however it is laid out."""
    kinds = [("0", "Linear", "nn.Linear(4, 8)"), ("1", "Sigmoid", "nn.Sigmoid()"), ("2", "Linear", "nn.Linear(8, 2)")]
    births = tuple(ModuleOrigin(path, kind, located(text, line_of(text, piece))) for path, kind, piece in kinds)
    place = Entry(located(text, line_of(text, "torch.optim.")), "net") if entry else None
    return PatchContext(place, (ModuleOrigin("", "Sequential", located(text, line_of(text, "nn.Sequential"))), *births), (), others)


def plan(*edits: Edit, remedy: str = "relu", needs_batch: bool = False) -> Plan:
    return Plan((remedy,), (PlanStep(remedy, edits, needs_batch),))


def test_a_place_that_is_known_needs_no_optimizer() -> None:
    texts = written(plan(RELU), blueprint(entry=False), text_of(SOURCE))
    assert texts == {FILE: SOURCE.replace("nn.Sigmoid()", "nn.ReLU()")}


def test_a_line_that_builds_a_module_of_another_network_too_is_left_alone() -> None:
    stranger = ModuleOrigin("", "Sigmoid", located(SOURCE, line_of(SOURCE, "Sigmoid")))
    (text,) = written(plan(RELU), blueprint(others=(stranger,)), text_of(SOURCE)).values()
    assert 'unvanish.apply(net, "relu")\nopt = ' in text
    assert "nn.Sigmoid()" in text


def test_a_module_of_a_package_is_left_to_the_line() -> None:
    away = Location("/usr/lib/python3/site-packages/zoo/net.py", 7, "self.act = nn.Sigmoid()")
    foreign = PatchContext(blueprint().entry, (ModuleOrigin("1", "Sigmoid", away),))
    (text,) = written(plan(RELU), foreign, text_of(SOURCE)).values()
    assert 'unvanish.apply(net, "relu")' in text


def test_a_remedy_that_needs_a_batch_is_refused_where_it_cannot_stand_in_place() -> None:
    edit = Edit("initialise", "0", "Linear", "scaled on the batch")
    with pytest.raises(TrialError, match=r"lsuv-init cannot be written in place .*inputs="):
        written(plan(edit, remedy="lsuv-init", needs_batch=True), blueprint(), text_of(SOURCE))
    assert written(plan(RELU, needs_batch=True), blueprint(), text_of(SOURCE))


def test_without_a_place_and_without_an_optimizer_the_reason_is_said() -> None:
    edit = Edit("initialise", "0", "Linear", "He normal")
    with pytest.raises(TrialError, match=r"he-init cannot be written in place .*no line is known that builds an optimizer"):
        written(plan(edit, remedy="he-init"), blueprint(entry=False), text_of(SOURCE))


def test_what_comes_behind_a_remedy_in_the_line_stands_in_the_line_too() -> None:
    steps = (PlanStep("he-init", (Edit("initialise", "0", "Linear", "He normal"),)), PlanStep("relu", (RELU,)))
    (text,) = written(Plan(("he-init", "relu"), steps), blueprint(), text_of(SOURCE)).values()
    assert 'unvanish.apply(net, "he-init", "relu")' in text
    assert "nn.ReLU()" not in text


def test_a_syntax_that_the_parser_does_not_know_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> None:
        raise ValueError("no such syntax")

    monkeypatch.setattr("libcst.parse_module", refuse)
    source = SOURCE + "# another text, that was not parsed before\n"
    (text,) = written(plan(RELU), blueprint(source), text_of(source)).values()
    assert 'unvanish.apply(net, "relu")\nopt = ' in text


def test_a_source_that_does_not_parse_is_refused() -> None:
    broken = SOURCE.replace("RATE = ", "RATE = = ")
    with pytest.raises((TrialError, ScriptError), match="parse"):
        written(plan(RELU), blueprint(broken), text_of(broken))


@pytest.mark.parametrize(
    ("given", "there", "then"),
    [
        ("lr=RATE", "RATE = 1e-4", "RATE = 1e-3"),
        ("lr=0.02", "lr=0.02", "lr=0.2"),
        ("lr=1e-6, eps=1e-8", "lr=1e-6", "lr=1e-5"),
        ("RATE", "RATE = 1e-4", "RATE = 1e-3"),
        ("lr=RATE * 2", None, None),
        ("lr=RATE, eps=RATE", None, None),
        ("weight_decay=0.1", None, None),
    ],
)
def test_a_rate_is_scaled_where_its_number_is_written_and_behind_else(given: str, there: str | None, then: str | None) -> None:
    source = SOURCE.replace("lr=RATE", given)
    behind = f'{source}for group in opt.param_groups: group["lr"] *= 10\n'
    expected = source.replace(there, then) if there is not None and then is not None else behind
    assert written(Plan(("learning-rate",)), blueprint(source), text_of(source), rate_factor=10.0) == {FILE: expected}


ADAMW = Edit("replace", "optimizer", "Adam(lr=0.0001)", "AdamW(lr=0.001, weight_decay=0.01)")


def test_of_an_optimizer_in_the_place_of_another_the_own_rate_is_scaled() -> None:
    (text,) = written(plan(RELU, ADAMW, remedy="adamw"), blueprint(), text_of(SOURCE), rate_factor=10.0).values()
    assert "opt = torch.optim.AdamW(net.parameters(), lr=RATE)" in text
    assert "RATE = 1e-2\n" in text
    assert "nn.ReLU()" in text


def test_behind_the_optimizer_its_kind_is_exchanged_before_its_rate_is_scaled() -> None:
    source = SOURCE.replace("torch.optim.Adam(", "make(torch.optim.Adam, ")
    (text,) = written(plan(ADAMW, remedy="adamw"), blueprint(source), text_of(source), rate_factor=10.0).values()
    assert text.endswith(
        "opt = make(torch.optim.Adam, net.parameters(), lr=RATE)\n"
        'unvanish.apply(net, "adamw", optimizer=opt)\n'
        'for group in opt.param_groups: group["lr"] *= 10\n'
    )


def test_a_kind_without_a_rate_of_its_own_cannot_be_scaled() -> None:
    rateless = Edit("replace", "optimizer", "Adam(lr=0.0001)", "Rprop(etas=(0.5, 1.2))")
    with pytest.raises(TrialError, match="names no learning rate"):
        written(plan(rateless, remedy="rprop"), blueprint(), text_of(SOURCE), rate_factor=10.0)


SETTINGS = Edit("set", "optimizer", "Adam(lr=0.0001)", "Adam(lr=0.5)")


@pytest.mark.parametrize("more", ["", "print(f'{RATE}', RATE)\n", "schedule = f(opt, RATE)\n"])
def test_a_variable_is_changed_where_nothing_but_the_optimizer_reads_it(more: str) -> None:
    source = SOURCE + more
    (text,) = written(plan(SETTINGS, remedy="learning-rate"), blueprint(source), text_of(source)).values()
    assert ("RATE = 5e-1" in text or "RATE = 0.5" in text) is ("schedule" not in more)
    assert ("lr=0.5" in text) is ("schedule" in more)


COMMENTS = st.lists(st.sampled_from(["", "  # why", "  # größer als 1", "  # Sigmoid() once", "\t# tab"]), min_size=5, max_size=5)
GAPS = st.lists(st.sampled_from(["", "\n", "    # a line of its own\n", "\n\n"]), min_size=4, max_size=4)


@settings(deadline=None, max_examples=60)
@given(comments=COMMENTS, gaps=GAPS, ending=st.sampled_from(["\n", "\r\n"]), spread=st.booleans(), norm=st.booleans())
def test_comments_and_layout_survive_and_twice_is_once(
    comments: list[str], gaps: list[str], ending: str, spread: bool, norm: bool
) -> None:
    first = f"    nn.Linear(4, 8),{comments[0]}\n{gaps[0]}    nn.Sigmoid()," if spread else "    nn.Linear(4, 8), nn.Sigmoid(),"
    last = f"    nn.Linear(8, 2),{comments[2]}\n{gaps[2]})\n"
    body = f"net = nn.Sequential({comments[3]}\n{gaps[3]}{first}{comments[1]}\n{gaps[1]}{last}"
    optimizer = f"opt = torch.optim.Adam(net.parameters(), lr=1e-3){comments[4]}\n"
    source = f"import torch\nfrom torch import nn\n\n{body}{optimizer}".replace("\n", ending)
    edit = Edit("insert", "1", "Sigmoid()", "BatchNorm1d(8), Sigmoid()") if norm else RELU
    known = blueprint(source)
    (text,) = written(plan(edit), known, text_of(source)).values()
    assert remarks(text) == remarks(source)
    assert ending == "\n" or "\n" not in text.replace("\r\n", "")
    assert ("nn.BatchNorm1d(8)" in text, "nn.ReLU()" in text, "unvanish" in text) == (norm, not norm, False)
    assert written(plan(edit), known, text_of(text)) == {}


def remarks(text: str) -> list[str]:
    """The comments of a source."""
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_the_parser_is_loaded_only_where_a_patch_is_written() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import unvanish.race\n"
        "from unvanish.patch import unified, written\n"
        "from unvanish.record.change import Blueprint, Plan\n"
        "print([name for name in ('libcst', 'torch') if name in sys.modules])\n"
        "written(Plan(()), Blueprint(None), Path.read_text)\n"
        "print([name for name in ('libcst', 'torch') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines() == ["[]", "['libcst']"]
