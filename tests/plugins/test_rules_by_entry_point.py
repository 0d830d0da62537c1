"""Rules of other packages enter by entry point, and a broken one is left out with one line that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import EntryPoint

import pytest
import torch
from packages import Install
from torch import nn

import unvanish
from unvanish.cli.main import run_app
from unvanish.diagnose import diagnose
from unvanish.diagnose.rules import built_in
from unvanish.errors import UsageError
from unvanish.plugins import entry_points, rules
from unvanish.testing.records import flat_loss, healthy, with_gradient_slope

OURS_ENTRY = rules.RULE_GROUP.built_in
HEAD = """
    from unvanish.diagnose.rule import Rule
    from unvanish.record.finding import Evidence, Finding, Severity


    class Odd(Rule):
        '''The step count is odd.

        Sees: the number of steps.
        '''

        code = "odd-steps"
        rank = 48

        def examine(self, view):
            evidence = (Evidence("steps", 1.0, "count", 0.0, "counted"),)
            yield Finding(self.code, Severity.WARNING, 0.9, "The steps are odd.", "They are.", evidence=evidence)
"""


@pytest.fixture(autouse=True)
def fresh_panel() -> Iterator[None]:
    """Every test looks for plugins anew, and leaves no panel of its own."""
    rules.installed_rules.cache_clear()
    yield
    rules.installed_rules.cache_clear()


def codes(panel: rules.RuleSet) -> list[str]:
    return [rule.code for rule in panel.rules]


def test_the_built_in_rules_enter_by_the_same_door() -> None:
    ours = [entry for entry in metadata.entry_points(group=OURS_ENTRY.group) if entry.value == OURS_ENTRY.value]
    assert [(entry.name, entry.dist.name if entry.dist else "") for entry in ours] == [(OURS_ENTRY.name, entry_points.OWN_PACKAGE)]
    assert set(codes(rules.installed_rules())) >= {rule.code for rule in built_in()}
    assert all(rules.installed_rules().packages[rule.code] == entry_points.OWN_PACKAGE for rule in built_in())


def test_the_built_in_rules_are_there_where_no_metadata_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "entry_points", lambda *, group: ())
    assert codes(rules.RuleSet(rules.RULE_GROUP.entries(), warn=pytest.fail)) == [rule.code for rule in built_in()]


@pytest.mark.parametrize("offer", ["Odd", "odd", "several"])
def test_a_class_a_rule_and_a_function_that_gives_several_all_enter(offer: str, install: Install) -> None:
    install(OURS_ENTRY.group, "acme-rules", f"acme_rules:{offer}", HEAD, "odd = Odd()\n\n\ndef several():\n    yield Odd\n")
    panel = rules.RuleSet(rules.RULE_GROUP.entries(), warn=pytest.fail)
    assert panel.packages["odd-steps"] == "acme-rules"
    assert codes(panel) == [rule.code for rule in sorted(panel.rules, key=lambda rule: rule.rank)]
    assert [finding.code for finding in panel.diagnose(healthy())] == ["odd-steps"]


BROKEN = {
    "an import that fails": ("acme_rules:Odd", "import a_module_that_nobody_has\n", "No module named 'a_module_that_nobody_has'"),
    "a module that ends the process": ("acme_rules:Odd", "raise SystemExit(3)\n", "SystemExit: 3"),
    "a name that is not there": ("acme_rules:Absent", HEAD, "has no attribute 'Absent'"),
    "a value that is no entry point": ("acme_rules:", HEAD, "is left out"),
    "a number": ("acme_rules:x", "x = 3\n", "it gives 3, which is no Rule"),
    "a class that is no rule": ("acme_rules:X", "class X: ...\n", "it gives X, which is no unvanish.diagnose.rule.Rule"),
    "a rule that is abstract": ("acme_rules:X", HEAD + "\n    class X(Rule):\n        code, rank = 'x', 1\n", "abstract"),
    "a rule without a code": ("acme_rules:X", HEAD + "\n    class X(Odd):\n        code = None\n", "the code of X is None"),
    "a code that is not in kebab-case": ("acme_rules:X", HEAD + "\n    class X(Odd):\n        code = 'A_b'\n", "kebab-case"),
    "a rule without a rank": ("acme_rules:X", HEAD + "\n    class X(Odd):\n        rank = 'first'\n", "a rank that is an int"),
    "the code of another": (
        "acme_rules:X",
        HEAD + "\n    class X(Odd):\n        code = 'dead-units'\n",
        "the code dead-units of X is taken by unvanish",
    ),
}


@pytest.mark.parametrize(("value", "source", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_left_out_with_one_line(value: str, source: str, reason: str, install: Install) -> None:
    install(OURS_ENTRY.group, "acme-rules", value, source)
    lines: list[str] = []
    panel = rules.RuleSet(rules.RULE_GROUP.entries(), warn=lines.append)
    assert codes(panel) == [rule.code for rule in built_in()]
    (line,) = lines
    assert reason in line
    assert "the plugin acme-rules" in line
    assert "pip uninstall acme-rules" in line


def test_of_two_plugins_with_one_code_the_second_is_left_out(install: Install) -> None:
    install(OURS_ENTRY.group, "acme-rules", "acme_rules:Odd", HEAD)
    install(OURS_ENTRY.group, "better-rules", "better_rules:Odd", HEAD)
    lines: list[str] = []
    panel = rules.RuleSet(rules.RULE_GROUP.entries(), warn=lines.append)
    assert panel.packages["odd-steps"] == "acme-rules"
    assert len(lines) == 1
    assert "a rule of the plugin better-rules is left out: the code odd-steps of Odd is taken by acme-rules" in lines[0]


FAILING = {
    "raises": "raise KeyError('gates')",
    "raises after a finding": "yield from super().examine(view)\n            raise KeyError('gates')",
    "gives text": "yield 'sick'",
    "gives another's finding": "yield Finding('dead-units', Severity.WARNING, 0.9, 'A.', 'B.')",
    "gives a severity as text": "yield Finding(self.code, 'warning', 0.9, 'A.', 'B.')",
    "gives a confidence above one": "yield Finding(self.code, Severity.WARNING, 9.0, 'A.', 'B.')",
    "gives nothing that can be listed": "return 3",
}


@pytest.mark.parametrize("body", FAILING.values(), ids=FAILING.keys())
def test_a_rule_that_fails_on_a_run_is_left_out_and_said_once(body: str, install: Install) -> None:
    failing = f"\n    class X(Odd):\n        def examine(self, view):\n            {body}\n"
    install(OURS_ENTRY.group, "acme-rules", "acme_rules:X", HEAD + failing)
    lines: list[str] = []
    panel = rules.RuleSet(rules.RULE_GROUP.entries(), warn=lines.append)
    sick = with_gradient_slope(healthy(losses=flat_loss()), -7.0)
    assert panel.diagnose(sick) == diagnose(sick)
    assert panel.diagnose(sick) == diagnose(sick)
    (line,) = lines
    assert line.startswith("the rule odd-steps of acme-rules is left out: it failed on this run (")
    assert line.endswith("pip uninstall acme-rules")


def test_a_built_in_rule_that_fails_is_said_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(built_in()[0]), "examine", lambda self, view: 1 / 0)
    lines: list[str] = []
    assert rules.RuleSet([OURS_ENTRY], warn=lines.append).diagnose(healthy()) == []
    assert len(lines) == 1
    assert "please report it" in lines[0]


def test_built_in_rules_that_cannot_be_loaded_are_no_healthy_run() -> None:
    with pytest.raises(ModuleNotFoundError):
        rules.RuleSet([OURS_ENTRY, broken_entry_of_ours()], warn=pytest.fail)


def broken_entry_of_ours() -> EntryPoint:
    return EntryPoint("more", "unvanish.a_missing_module:rules", OURS_ENTRY.group)


def test_rules_may_be_given_to_a_diagnosis_and_then_no_other_judges() -> None:
    sick = with_gradient_slope(healthy(losses=flat_loss()), -7.0)
    some = [rule for rule in built_in() if rule.code == "loss-not-decreasing"]
    assert [finding.code for finding in diagnose(sick, some)] == ["loss-not-decreasing"]
    assert diagnose(sick, []) == []
    assert diagnose(sick, built_in()) == diagnose(sick)


def test_without_somebody_to_tell_a_rule_that_fails_ends_the_diagnosis(install: Install) -> None:
    install(
        OURS_ENTRY.group,
        "acme-rules",
        "acme_rules:X",
        HEAD + "\n    class X(Odd):\n        def examine(self, view):\n            yield 3\n",
    )
    panel = rules.RuleSet(rules.RULE_GROUP.entries(), warn=pytest.fail)
    with pytest.raises(UsageError, match="odd-steps gave int in place of a Finding"):
        diagnose(healthy(), panel.rules)


def test_the_rules_of_a_plugin_judge_a_checked_network_and_a_watched_one(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(OURS_ENTRY.group, "acme-rules", "acme_rules:Odd", HEAD)
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(8, 4), torch.randint(0, 2, (8,))
    assert "odd-steps" in {finding.code for finding in unvanish.check(net, x, y).findings}
    with unvanish.watch(net) as run:
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(3):
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert "odd-steps" in {finding.code for finding in run.findings}
    assert capsys.readouterr().err == ""


def test_a_broken_plugin_is_said_on_standard_error_once_for_all_of_a_process(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(OURS_ENTRY.group, "acme-rules", "acme_rules:Odd", "import a_module_that_nobody_has\n")
    assert rules.diagnose(healthy()) == rules.diagnose(healthy()) == []
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("unvanish: the plugin acme-rules (offer = acme_rules:Odd) is left out: ModuleNotFoundError")


def test_rules_of_plugins_are_listed_and_explained_with_their_package(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(OURS_ENTRY.group, "acme-rules", "acme_rules:Odd", HEAD)
    assert run_app(["list", "rules", "--json", "-"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["odd-steps"] == {"name": "odd-steps", "summary": "The step count is odd.", "package": "acme-rules"}
    assert "package" not in entries["dead-units"]
    assert run_app(["list", "rules"]) == 0
    assert "[acme-rules] The step count is odd." in capsys.readouterr().out
    assert run_app(["explain", "odd-steps"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["odd-steps", "a finding, from the plugin acme-rules"]


def test_nothing_looks_for_plugins_before_they_are_needed() -> None:
    code = (
        "import sys, unvanish, unvanish.workflows.watch_script; from unvanish.cli.main import run_app; sys.argv = ['unvanish']\n"
        "codes = [run_app([*verb, '--help']) for verb in ([], ['list'], ['explain'])]\n"
        "print(codes, 'unvanish.plugins.entry_points' in sys.modules, 'torch' in sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.splitlines()[-1:] == ["[0, 0, 0] False False"]
