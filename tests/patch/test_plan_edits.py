"""Which edits of a plan are written in place, and what is written where they cannot be: with patch contexts made by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.errors import ScriptError, TrialError
from unvanish.patch import edit_sources
from unvanish.record.network_changes import CallExchange, Edit, EditTarget, ModuleOrigin, PatchContext, Plan, PlanStep, SourcePoint
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


def reader_of(text: str) -> Callable[[Path], str]:
    return lambda path: text


def located(text: str, line: int) -> Location:
    return Location(str(FILE), line, text.splitlines()[line - 1].strip())


def line_of(text: str, piece: str) -> int:
    return next(at for at, line in enumerate(text.splitlines(), start=1) if piece in line)


def patch_context(text: str = SOURCE, *, outside_modules: tuple[ModuleOrigin, ...] = (), entry: bool = True) -> PatchContext:
    """The network of SOURCE, however it is laid out."""
    modules = [("0", "Linear", "nn.Linear(4, 8)"), ("1", "Sigmoid", "nn.Sigmoid()"), ("2", "Linear", "nn.Linear(8, 2)")]
    origins = [ModuleOrigin(path, name, located(text, line_of(text, piece)), torch_class=name) for path, name, piece in modules]
    root = ModuleOrigin("", "Sequential", located(text, line_of(text, "nn.Sequential")), torch_class="Sequential")
    place = Entry(located(text, line_of(text, "torch.optim.")), "net") if entry else None
    return PatchContext(place, (root, *origins), (), outside_modules)


def plan(*edits: Edit, remedy: str = "relu", needs_batch: bool = False) -> Plan:
    return Plan((remedy,), (PlanStep(remedy, edits, needs_batch),))


def test_an_edit_in_place_needs_no_line_that_builds_an_optimizer() -> None:
    texts = edit_sources(plan(RELU), patch_context(entry=False), reader_of(SOURCE))
    assert texts == {FILE: SOURCE.replace("nn.Sigmoid()", "nn.ReLU()")}


def test_a_line_that_builds_a_module_of_another_network_too_stays_as_it_is() -> None:
    outside_module = ModuleOrigin("", "Sigmoid", located(SOURCE, line_of(SOURCE, "Sigmoid")))
    (text,) = edit_sources(plan(RELU), patch_context(outside_modules=(outside_module,)), reader_of(SOURCE)).values()
    assert text == SOURCE.replace("RATE", "net[1] = nn.ReLU()\nRATE", 1)


def test_what_has_no_words_in_pytorch_is_applied_where_the_network_is_built() -> None:
    unknown = Edit("set", "1", "Sigmoid()", "Sigmoid(), held")
    (text,) = edit_sources(plan(unknown), patch_context(), reader_of(SOURCE)).values()
    assert text == SOURCE.replace("\nnet", "import unvanish\n\nnet").replace("RATE", 'unvanish.apply(net, "relu")\nRATE', 1)
    assert edit_sources(plan(unknown), patch_context(), reader_of(text)) == {}
    (line,) = edit_sources(plan(unknown), patch_context(), reader_of(SOURCE + "net[0].requires_grad_(False)\n")).values()
    assert 'unvanish.apply(net, "relu")\nopt = ' in line
    loading = SOURCE.replace("RATE = ", "net.load_state_dict(torch.load(FILE))\nRATE = ")
    (line,) = edit_sources(plan(unknown), patch_context(loading), reader_of(loading)).values()
    assert 'unvanish.apply(net, "relu")\nopt = ' in line


def test_a_module_that_stands_in_several_places_is_not_put_elsewhere_in_one_of_them() -> None:
    context = patch_context(outside_modules=(ModuleOrigin("", "Sigmoid", located(SOURCE, line_of(SOURCE, "Sigmoid"))),))
    shared = tuple(replace(origin, is_shared=origin.path == "1") for origin in context.origins)
    (text,) = edit_sources(plan(RELU), replace(context, origins=shared), reader_of(SOURCE)).values()
    assert 'unvanish.apply(net, "relu")\n' in text


def test_a_remedy_for_a_module_of_a_package_goes_into_the_line() -> None:
    away = Location("/usr/lib/python3/site-packages/zoo/net.py", 7, "self.act = nn.Sigmoid()")
    foreign = PatchContext(patch_context().entry, (ModuleOrigin("1", "Sigmoid", away),))
    (text,) = edit_sources(plan(RELU), foreign, reader_of(SOURCE)).values()
    assert 'unvanish.apply(net, "relu")' in text


@pytest.mark.parametrize("folder", ["/usr/lib/python3/site-packages/zoo", "/elsewhere/zoo"])
def test_a_file_that_is_not_the_projects_is_never_edited(folder: str) -> None:
    away, library = Path(folder, "net.py"), "import torch\n\ndef forward(x):\n    return torch.sigmoid(x)\n"
    point = SourcePoint(str(away), 4, len("    return torch.sigmoid(x)"))
    call = CallExchange((point,), "sigmoid(x)", "relu(x)", "return torch.sigmoid(x)")
    exchange = Edit("replace", "", "sigmoid(x)", "relu(x)", (call,))
    context = replace(patch_context(), project_folders=("/somewhere",))
    texts = edit_sources(plan(exchange), context, lambda path: library if path == away else SOURCE)
    assert list(texts) == [FILE]
    assert ')\nunvanish.apply(net, "relu")\nRATE' in texts[FILE]
    entry = Entry(Location(str(away), 4, "return torch.sigmoid(x)"), "net")
    with pytest.raises(TrialError, match="no line is known"):
        edit_sources(plan(exchange), replace(context, entry=entry, origins=()), lambda path: library if path == away else SOURCE)


def test_a_module_that_a_library_built_is_not_taken_for_one_that_the_line_builds() -> None:
    here = located(SOURCE, line_of(SOURCE, "Sigmoid"))
    context = replace(
        patch_context(), origins=(*patch_context().origins, ModuleOrigin("3.act", "Sigmoid", here, through_library=True))
    )
    assert edit_sources(plan(RELU), context, reader_of(SOURCE)) == {FILE: SOURCE.replace("nn.Sigmoid()", "nn.ReLU()")}
    inner = replace(RELU, path="3.act")
    (text,) = edit_sources(plan(inner), context, reader_of(SOURCE)).values()
    assert text == SOURCE.replace("RATE", "net[3].act = nn.ReLU()\nRATE", 1)


def test_a_remedy_that_needs_a_batch_is_refused_where_it_cannot_stand_in_place() -> None:
    edit = Edit("initialise", "0", "Linear", "scaled on the batch")
    with pytest.raises(TrialError, match=r"lsuv-init cannot be written in place .*inputs="):
        edit_sources(plan(edit, remedy="lsuv-init", needs_batch=True), patch_context(), reader_of(SOURCE))
    assert edit_sources(plan(RELU, needs_batch=True), patch_context(), reader_of(SOURCE))


def test_without_a_place_and_without_an_optimizer_the_error_gives_the_reason() -> None:
    edit = Edit("initialise", "0", "Linear", "He normal")
    with pytest.raises(TrialError, match=r"he-init cannot be written in place .*no line is known that builds an optimizer"):
        edit_sources(plan(edit, remedy="he-init"), PatchContext(None), reader_of(SOURCE))


def test_a_remedy_after_one_in_the_line_goes_into_the_line_too() -> None:
    steps = (PlanStep("he-init", (Edit("initialise", "0", "Linear", "He normal"),)), PlanStep("relu", (RELU,)))
    (text,) = edit_sources(Plan(("he-init", "relu"), steps), patch_context(), reader_of(SOURCE)).values()
    assert 'unvanish.apply(net, "he-init", "relu")' in text
    assert "nn.ReLU()" not in text


def test_with_a_syntax_that_libcst_does_not_parse_remedies_go_into_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> None:
        raise ValueError("no such syntax")

    monkeypatch.setattr("libcst.parse_module", refuse)
    source = SOURCE + "# another text, that was not parsed before\n"
    (text,) = edit_sources(plan(RELU), patch_context(source), reader_of(source)).values()
    assert 'unvanish.apply(net, "relu")\nopt = ' in text


def test_a_source_that_does_not_parse_is_refused() -> None:
    broken = SOURCE.replace("RATE = ", "RATE = = ")
    with pytest.raises((TrialError, ScriptError), match="parse"):
        edit_sources(plan(RELU), patch_context(broken), reader_of(broken))


@pytest.mark.parametrize(
    ("arguments", "before", "after"),
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
def test_a_rate_is_scaled_where_its_number_is_written_or_else_behind_the_optimizer(
    arguments: str, before: str | None, after: str | None
) -> None:
    source = SOURCE.replace("lr=RATE", arguments)
    behind = f'{source}for group in opt.param_groups: group["lr"] *= 10\n'
    expected = source.replace(before, after) if before is not None and after is not None else behind
    assert edit_sources(Plan(("learning-rate",)), patch_context(source), reader_of(source), rate_factor=10.0) == {FILE: expected}


def test_an_edit_of_a_module_called_optimizer_is_one_of_the_network() -> None:
    source = """\
from torch import nn, optim
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.optimizer = nn.Sigmoid()
net = Net()
opt = optim.SGD(net.parameters(), lr=0.1)
"""
    origin = ModuleOrigin("optimizer", "Sigmoid", located(source, line_of(source, "Sigmoid")))
    known = PatchContext(Entry(located(source, line_of(source, "SGD")), "net"), (origin,))
    relu, he_init = replace(RELU, path="optimizer"), Edit("initialise", "optimizer", "Linear", "He normal")
    (in_place,) = edit_sources(plan(relu), known, reader_of(source)).values()
    assert in_place == source.replace("nn.Sigmoid()", "nn.ReLU()")
    (line,) = edit_sources(plan(he_init, remedy="he-init"), known, reader_of(source)).values()
    assert 'unvanish.apply(net, "he-init")\nopt = ' in line


def test_only_an_edit_of_the_optimizer_goes_into_a_line_behind_it() -> None:
    source = SOURCE.replace("net", "optimizer_net")
    renamed = replace(patch_context(source), entry=Entry(located(source, line_of(source, "torch.optim.")), "optimizer_net"))
    edits = {target: Edit("insert", "optimizer", "optimizer=", "optimizer=, held", target=target) for target in EditTarget}
    texts = {
        target: "".join(edit_sources(plan(edit, remedy="he-init"), renamed, reader_of(source)).values())
        for target, edit in edits.items()
    }
    assert ')\nunvanish.apply(optimizer_net, "he-init")\nRATE' in texts[EditTarget.NETWORK]
    assert texts[EditTarget.OPTIMIZER].endswith('lr=RATE)\nunvanish.apply(optimizer_net, "he-init", optimizer=opt)\n')


ADAMW = Edit("replace", "optimizer", "Adam(lr=0.0001)", "AdamW(lr=0.001, weight_decay=0.01)", target=EditTarget.OPTIMIZER)


def test_the_own_rate_of_an_optimizer_that_replaces_another_is_scaled() -> None:
    (text,) = edit_sources(plan(RELU, ADAMW, remedy="adamw"), patch_context(), reader_of(SOURCE), rate_factor=10.0).values()
    assert "opt = torch.optim.AdamW(net.parameters(), lr=RATE)" in text
    assert "RATE = 1e-2\n" in text
    assert "nn.ReLU()" in text


def test_behind_the_optimizer_its_class_is_changed_before_its_rate_is_scaled() -> None:
    source = SOURCE.replace("torch.optim.Adam(", "make(torch.optim.Adam, ")
    (text,) = edit_sources(plan(ADAMW, remedy="adamw"), patch_context(source), reader_of(source), rate_factor=10.0).values()
    assert text.endswith(
        "opt = make(torch.optim.Adam, net.parameters(), lr=RATE)\n"
        'unvanish.apply(net, "adamw", optimizer=opt)\n'
        'for group in opt.param_groups: group["lr"] *= 10\n'
    )


def test_an_optimizer_without_a_learning_rate_cannot_be_scaled() -> None:
    rateless = Edit("replace", "optimizer", "Adam(lr=0.0001)", "Rprop(etas=(0.5, 1.2))", target=EditTarget.OPTIMIZER)
    with pytest.raises(TrialError, match="names no learning rate"):
        edit_sources(plan(rateless, remedy="rprop"), patch_context(), reader_of(SOURCE), rate_factor=10.0)


SETTINGS = Edit("set", "optimizer", "Adam(lr=0.0001)", "Adam(lr=0.5)", target=EditTarget.OPTIMIZER)


@pytest.mark.parametrize("more", ["", "print(f'{RATE}', RATE)\n", "schedule = f(opt, RATE)\n"])
def test_a_variable_is_changed_where_nothing_but_the_optimizer_reads_it(more: str) -> None:
    source = SOURCE + more
    (text,) = edit_sources(plan(SETTINGS, remedy="learning-rate"), patch_context(source), reader_of(source)).values()
    assert ("RATE = 5e-1" in text or "RATE = 0.5" in text) is ("schedule" not in more)
    assert ("lr=0.5" in text) is ("schedule" in more)


COMMENTS = st.lists(st.sampled_from(["", "  # why", "  # größer als 1", "  # Sigmoid() once", "\t# tab"]), min_size=5, max_size=5)
GAPS = st.lists(st.sampled_from(["", "\n", "    # a line of its own\n", "\n\n"]), min_size=4, max_size=4)


@settings(deadline=None, max_examples=60)
@given(comments=COMMENTS, gaps=GAPS, ending=st.sampled_from(["\n", "\r\n"]), spread=st.booleans(), norm=st.booleans())
def test_comments_and_layout_survive_and_a_second_edit_changes_nothing(
    comments: list[str], gaps: list[str], ending: str, spread: bool, norm: bool
) -> None:
    first = f"    nn.Linear(4, 8),{comments[0]}\n{gaps[0]}    nn.Sigmoid()," if spread else "    nn.Linear(4, 8), nn.Sigmoid(),"
    last = f"    nn.Linear(8, 2),{comments[2]}\n{gaps[2]})\n"
    body = f"net = nn.Sequential({comments[3]}\n{gaps[3]}{first}{comments[1]}\n{gaps[1]}{last}"
    optimizer = f"opt = torch.optim.Adam(net.parameters(), lr=1e-3){comments[4]}\n"
    source = f"import torch\nfrom torch import nn\n\n{body}{optimizer}".replace("\n", ending)
    edit = Edit("insert", "1", "Sigmoid()", "BatchNorm1d(8), Sigmoid()") if norm else RELU
    context = patch_context(source)
    (text,) = edit_sources(plan(edit), context, reader_of(source)).values()
    assert comments_in(text) == comments_in(source)
    assert ending == "\n" or "\n" not in text.replace("\r\n", "")
    assert ("nn.BatchNorm1d(8)" in text, "nn.ReLU()" in text, "unvanish" in text) == (norm, not norm, False)
    assert edit_sources(plan(edit), context, reader_of(text)) == {}


def comments_in(text: str) -> list[str]:
    """The comments of a source."""
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_the_parser_is_loaded_only_where_a_patch_is_written() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import unvanish.race\n"
        "from unvanish.patch import edit_sources, unified_diff\n"
        "from unvanish.record.network_changes import PatchContext, Plan\n"
        "print([name for name in ('libcst', 'torch') if name in sys.modules])\n"
        "edit_sources(Plan(()), PatchContext(None), Path.read_text)\n"
        "print([name for name in ('libcst', 'torch') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines() == ["[]", "['libcst']"]
