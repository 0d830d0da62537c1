"""Tests of the conformance suite for rules: a sound rule passes, and each flaw is caught by the check for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest
import sample_rules as rules
from heavy_rules import Loaded

from unvanish.diagnose.rule import Rule
from unvanish.testing import RuleConformance, Symmetry
from unvanish.testing.prose import find_wording_problems, is_one_sentence
from unvanish.testing.records import falling_loss, flat_loss, healthy, with_reading

QUIET = with_reading(healthy(losses=flat_loss()), "activation_std", 1e-5, of=[2, 3])
FAINT = with_reading(healthy(), "activation_std", 0.01, of=[2])


class TestQuietLayer(RuleConformance):
    rule = rules.QuietLayer
    sick: ClassVar = {
        "two layers that fell silent": QUIET,
        "a layer of zeros": with_reading(healthy(), "activation_std", 0.0, of=[2]),
    }
    healthy: ClassVar = {
        "nothing at all": healthy(),
        "a layer a hundred times smaller": FAINT,
    }


class TestAbsolute(RuleConformance):
    """A rule that compares a gradient with a fixed number leaves out a symmetry and passes the rest."""

    rule = rules.QuietLayer
    sick = TestQuietLayer.sick
    healthy = TestQuietLayer.healthy
    symmetries = frozenset({Symmetry.PARAMETER_ORDER})


FLAWED: tuple[tuple[type[Rule], str, dict[str, Any], str], ...] = (
    (rules.Carded, "test_the_docstring_begins_with_one_sentence", {}, "must be one sentence"),
    (rules.Carded, "test_the_docstring_has_a_paragraph_with_each_heading", {"heading": "Known problems"}, "'Known problems:'"),
    (rules.Shouting, "test_the_code_is_in_kebab_case_and_no_other_rule_has_it", {}, "not in kebab-case"),
    (rules.Thief, "test_the_code_is_in_kebab_case_and_no_other_rule_has_it", {}, "taken by a rule of unvanish"),
    (rules.Circular, "test_rank_and_explains_have_the_right_types", {}, "no finding explains itself"),
    (rules.Blind, "test_it_finds_its_sick_record", {"sick_run": QUIET}, "quiet-layer"),
    (rules.Nervous, "test_it_has_no_loud_finding_for_a_healthy_record", {"healthy_run": healthy()}, "It is quiet"),
    (rules.Nervous, "test_its_findings_have_evidence", {"sick_run": QUIET}, "opinion"),
    (rules.Forgetful, "test_it_is_deterministic_and_leaves_the_record_as_it_was", {}, "the same record"),
    (rules.Fragile, "test_it_raises_nothing_on_incomplete_records", {"sick_run": QUIET}, "a record with no losses"),
    (rules.Warning_, "test_it_raises_nothing_on_incomplete_records", {"sick_run": QUIET}, "a record with one sample"),
    (rules.Unproven, "test_its_findings_have_evidence", {"sick_run": QUIET}, "opinion"),
    (rules.Overconfident, "test_its_findings_are_well_formed", {}, "1.5"),
    (rules.Lost, "test_its_findings_are_well_formed", {}, "as the record names them"),
    (rules.Hedging, "test_its_findings_are_worded_plainly", {}, "might"),
    (rules.Talkative, "test_its_findings_are_worded_plainly", {}, "one sentence"),
    (
        rules.Absolute,
        "test_equivalent_records_get_the_same_findings",
        {"symmetry": Symmetry.LOSS_SCALE},
        "the scale of the loss must not matter",
    ),
    (
        rules.FirstCome,
        "test_equivalent_records_get_the_same_findings",
        {"symmetry": Symmetry.PARAMETER_ORDER},
        "the order of parameters must not matter",
    ),
    (rules.Heavy, "test_it_imports_no_torch_while_it_examines", {"sick_run": QUIET}, "torch"),
    (Loaded, "test_its_module_imports_no_torch", {}, "imports torch"),
)


@pytest.mark.parametrize(
    ("rule", "check", "arguments", "message"), FLAWED, ids=[f"{flaw[0].__name__}-{flaw[1]}" for flaw in FLAWED]
)
def test_each_flaw_is_caught_by_the_check_for_it(rule: type[Rule], check: str, arguments: dict[str, Any], message: str) -> None:
    suite = type("Suite", (RuleConformance,), {"rule": rule, "sick": {"quiet": QUIET}, "healthy": {"nothing": healthy()}})()
    with pytest.raises(AssertionError, match=message):
        getattr(suite, check)(**arguments)


def test_a_rule_that_writes_to_the_record_gets_an_error() -> None:
    suite = type("Suite", (RuleConformance,), {"rule": rules.Scribbling, "sick": {"quiet": QUIET}, "healthy": {}})()
    with pytest.raises(ValueError, match="read-only"):
        suite.test_it_is_deterministic_and_leaves_the_record_as_it_was()


def test_a_rule_without_records_does_not_pass() -> None:
    suite = type("Suite", (RuleConformance,), {"rule": rules.QuietLayer, "sick": {}, "healthy": {}})()
    with pytest.raises(AssertionError, match="has no record that it names"):
        suite.test_there_is_a_sick_and_a_healthy_record()


def test_the_suite_imports_no_torch_and_the_rest_of_the_package_no_pytest() -> None:
    code = (
        "import sys, unvanish.plugins.rules, unvanish.docgen, unvanish.cli; assert 'pytest' not in sys.modules\n"
        "import unvanish.testing; assert 'torch' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("It is so.", []),
        ("x != y holds.", []),
        ("It may be so, and the mighty know.", []),
        ("", ["is empty"]),
        ("It is so!", ["has an exclamation mark"]),
        ("Perhaps it is.", ["says 'Perhaps': give a confidence instead of a hedge"]),
        ("It fell by nan decades.", ["shows 'nan': say what was not measured, or leave it out"]),
    ],
)
def test_wording_problems_are_hedges_exclamation_marks_and_missing_numbers(text: str, problems: list[str]) -> None:
    assert find_wording_problems(text) == problems


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("The first 7 of 10 layers are not learning.", True),
        ("7 of 10 layers (net.0, net.2) are not learning: 6.1 decades are lost.", True),
        ("it has no capital.", False),
        ("It has no end", False),
        ("It is quiet. Very quiet.", False),
        ("", False),
    ],
)
def test_one_sentence_is_distinguished_from_two(text: str, one: bool) -> None:
    assert is_one_sentence(text) is one


def test_the_falling_loss_falls() -> None:
    assert falling_loss()[0] > falling_loss()[-1]
