"""Remedies of other packages enter by entry point, are applied by name, listed and explained; a broken one is left out."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
import torch
from packages import Install
from torch import nn

import unvanish
from unvanish import remedies
from unvanish.cli.main import run_app
from unvanish.docgen import find_treatments
from unvanish.errors import NotApplicable, UnknownRemedy
from unvanish.plugins import entry_points
from unvanish.plugins import remedies as remedy_plugins
from unvanish.plugins.entry_points import PluginRegistry

GROUP = remedy_plugins.BUILT_IN.group
HEAD = """
    from torch import nn

    from unvanish.errors import NotApplicable
    from unvanish.remedies import Remedy
    from unvanish.remedies.edits.module_edits import Initialise


    class Zero(Remedy):
        '''Clears every bias.

        Does: puts zero into it.
        Helps: never. Harms: seldom.
        Cost: none.
        References: none.
        '''

        name = "zero-bias"
        family = "initialisation"
        summary = "every bias zero"
        treats = ("off-critical-init",)

        def plan(self, network, context):
            biases = {path: p for path, p in network.named_parameters() if path.endswith("bias")}
            if not biases:
                raise NotApplicable("zero-bias: there is no bias; add one")
            return tuple(Initialise(path, "bias", "0", ((p, nn.init.zeros_),)) for path, p in biases.items())
"""


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    """Every test looks for plugins anew, and leaves no registry of its own."""
    remedy_plugins.registry.cache_clear()
    yield
    remedy_plugins.registry.cache_clear()


def load_registry(warn: object = pytest.fail) -> PluginRegistry[remedies.Remedy]:
    group = remedy_plugins.remedy_group()
    return PluginRegistry(group, group.entries(), warn=warn)  # type: ignore[arg-type]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))


def test_the_built_in_remedies_enter_by_the_same_door() -> None:
    ours = [entry for entry in metadata.entry_points(group=GROUP) if entry.value == remedy_plugins.BUILT_IN.value]
    assert [(entry.name, entry.dist.name if entry.dist else "") for entry in ours] == [("built-in", entry_points.OWN_PACKAGE)]
    assert tuple(remedy_plugins.catalogue())[: len(remedies.remedy_names())] == remedies.remedy_names()
    assert {remedy_plugins.registry().packages[name] for name in remedies.remedy_names()} == {entry_points.OWN_PACKAGE}


def test_the_built_in_remedies_are_there_where_no_metadata_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "entry_points", lambda *, group: ())
    assert tuple(load_registry().plugins) == remedies.remedy_names()


@pytest.mark.parametrize("offer", ["Zero", "zero", "several"])
def test_a_class_a_remedy_and_a_function_that_gives_several_all_enter_behind_ours(offer: str, install: Install) -> None:
    install(GROUP, "acme-cures", f"acme_cures:{offer}", HEAD, "zero = Zero()\n\n\ndef several():\n    yield Zero\n")
    registry = load_registry()
    assert tuple(registry.plugins) == (*remedies.remedy_names(), "zero-bias")
    assert registry.packages["zero-bias"] == "acme-cures"


BROKEN = {
    "an import that fails": ("acme_cures:Zero", "import a_module_that_nobody_has\n", "No module named 'a_module_that_nobody_has'"),
    "a number": ("acme_cures:x", "x = 3\n", "it gives 3, which is no Remedy"),
    "a class that is no remedy": ("acme_cures:X", "class X: ...\n", "it gives X, which is no unvanish.remedies.base.Remedy"),
    "a remedy that is abstract": ("acme_cures:X", HEAD + "\n    class X(Remedy):\n        name = 'x'\n", "abstract"),
    "a remedy without a name": ("acme_cures:X", HEAD + "\n    class X(Zero):\n        name = None\n", "the name of X is None"),
    "a name with capitals": (
        "acme_cures:X",
        HEAD + "\n    class X(Zero):\n        name = 'Zero_b'\n",
        "kebab-case, as in 'he-init'",
    ),
    "the name of ours": ("acme_cures:X", HEAD + "\n    class X(Zero):\n        name = 'relu'\n", "relu of X is taken by unvanish"),
    "another family": ("acme_cures:X", HEAD + "\n    class X(Zero):\n        family = 'magic'\n", "must be one of activation"),
    "no summary": ("acme_cures:X", HEAD + "\n    class X(Zero):\n        summary = ''\n", "the summary of X"),
    "a text of codes": ("acme_cures:X", HEAD + "\n    class X(Zero):\n        treats = 'dead-units'\n", "a tuple of the codes"),
}


@pytest.mark.parametrize(("value", "source", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_left_out_with_one_line(value: str, source: str, reason: str, install: Install) -> None:
    install(GROUP, "acme-cures", value, source)
    lines: list[str] = []
    assert tuple(load_registry(lines.append).plugins) == remedies.remedy_names()
    (line,) = lines
    assert reason in line
    assert "the plugin acme-cures" in line
    assert "pip uninstall acme-cures" in line


def test_of_two_plugins_with_one_name_the_second_is_left_out(install: Install) -> None:
    install(GROUP, "acme-cures", "acme_cures:Zero", HEAD)
    install(GROUP, "better-cures", "better_cures:Zero", HEAD)
    lines: list[str] = []
    assert load_registry(lines.append).packages["zero-bias"] == "acme-cures"
    (line,) = lines
    assert "a remedy of the plugin better-cures is left out: the name zero-bias of Zero is taken by acme-cures" in line


def test_built_in_remedies_that_cannot_be_loaded_are_no_empty_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unvanish.remedies.catalogue.built_in", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load_registry()


def test_a_remedy_of_a_plugin_is_applied_by_name_beside_ours_and_undone(install: Install) -> None:
    install(GROUP, "acme-cures", "acme_cures:Zero", HEAD)
    net = network()
    before = [p.clone() for p in net.parameters()]
    change = unvanish.apply(net, "relu", "zero-bias")
    assert isinstance(net[1], nn.ReLU)
    assert not net[0].bias.any()
    assert change.remedies == ("relu", "zero-bias")
    change.undo()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert isinstance(net[1], nn.Sigmoid)


def test_a_remedy_of_a_plugin_that_cannot_act_leaves_all_as_it_was(install: Install) -> None:
    install(GROUP, "acme-cures", "acme_cures:Zero", HEAD)
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Sigmoid(), nn.Linear(4, 2, bias=False))
    with pytest.raises(NotApplicable, match="zero-bias: there is no bias"):
        unvanish.apply(net, "relu", "zero-bias")
    assert isinstance(net[1], nn.Sigmoid)


def test_a_name_that_no_remedy_has_gets_the_nearest_one_of_all_that_are_installed(install: Install) -> None:
    install(GROUP, "acme-cures", "acme_cures:Zero", HEAD)
    with pytest.raises(UnknownRemedy, match="did you mean 'zero-bias'"):
        unvanish.apply(network(), "zero_bias")


def test_the_public_apply_takes_what_remedies_apply_takes_but_a_catalogue() -> None:
    public, inner = (inspect.signature(each).parameters for each in (unvanish.apply, remedies.apply))
    assert [(p.name, p.kind, p.default) for p in public.values()] == [
        (p.name, p.kind, p.default) for p in inner.values() if p.name != "catalogue"
    ]


def test_a_broken_plugin_is_said_on_standard_error_once_for_all_of_a_process(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(GROUP, "acme-cures", "acme_cures:Zero", "import a_module_that_nobody_has\n")
    unvanish.apply(network(), "relu")
    unvanish.apply(network(), "he-init")
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("unvanish: the plugin acme-cures (offer = acme_cures:Zero) is left out: ModuleNotFoundError")


def test_remedies_of_plugins_are_listed_and_explained_with_their_package(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(GROUP, "acme-cures", "acme_cures:Zero", HEAD)
    assert run_app(["list", "remedies", "--json", "-"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["zero-bias"] == {"name": "zero-bias", "summary": "Clears every bias.", "package": "acme-cures"}
    assert "package" not in entries["relu"]
    assert run_app(["explain", "zero-bias"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["zero-bias", "a remedy of the family initialisation, from the plugin acme-cures"]
    assert "zero-bias" in find_treatments("off-critical-init").names


def test_nothing_of_torch_is_loaded_before_a_remedy_is_asked_for() -> None:
    code = (
        "import sys, unvanish.plugins.remedies; first = 'torch' in sys.modules; unvanish.plugins.remedies.catalogue()\n"
        "print(first, 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["False", "True"]
