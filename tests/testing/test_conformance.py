"""The suite for rules: a sound rule passes all of it, and each flaw is caught by the check that is there for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest
import sample_rules as rules
from heavy_rules import Loaded

from unvanish.diagnose.rule import Rule
from unvanish.testing import RuleConformance, Symmetry
from unvanish.testing.prose import is_one_sentence, objections
from unvanish.testing.records import falling, flat, healthy, reading

QUIET = reading(healthy(losses=flat()), "activation_std", 1e-5, of=[2, 3])
FAINT = reading(healthy(), "activation_std", 0.01, of=[2])


class TestQuietLayer(RuleConformance):
    rule = rules.QuietLayer
    sick: ClassVar = {"two layers that fell silent": QUIET, "a layer of zeros": reading(healthy(), "activation_std", 0.0, of=[2])}
    healthy: ClassVar = {
        "nothing at all": healthy(),
        "a layer a hundred times smaller": FAINT,
    }


class TestAbsolute(RuleConformance):
    """A rule that does compare a gradient with a fixed number says so, and is held to the rest."""

    rule = rules.QuietLayer
    sick = TestQuietLayer.sick
    healthy = TestQuietLayer.healthy
    symmetries = frozenset({Symmetry.PARAMETER_ORDER})


FLAWED: tuple[tuple[type[Rule], str, dict[str, Any], str], ...] = (
    (rules.Carded, "test_the_card_opens_with_a_sentence", {}, "must be one sentence"),
    (rules.Carded, "test_the_card_has_a_paragraph_with_each_heading", {"heading": "Known problems"}, "'Known problems:'"),
    (rules.Shouting, "test_the_code_is_in_kebab_case_and_no_other_rule_has_it", {}, "not in kebab-case"),
    (rules.Thief, "test_the_code_is_in_kebab_case_and_no_other_rule_has_it", {}, "taken by a rule of unvanish"),
    (rules.Circular, "test_rank_and_what_it_explains_are_what_the_fold_needs", {}, "no finding explains itself"),
    (rules.Blind, "test_it_names_its_sick_record", {"sick_run": QUIET}, "quiet-layer"),
    (rules.Nervous, "test_it_leaves_a_healthy_neighbour_alone", {"healthy_run": healthy()}, "It is quiet"),
    (rules.Nervous, "test_its_findings_show_their_evidence", {"sick_run": QUIET}, "opinion"),
    (rules.Forgetful, "test_it_says_the_same_twice_and_leaves_the_record_as_it_was", {}, "the same record"),
    (rules.Fragile, "test_it_survives_whatever_a_record_lacks", {"sick_run": QUIET}, "a record with no losses"),
    (rules.Warning_, "test_it_survives_whatever_a_record_lacks", {"sick_run": QUIET}, "a record with one sample"),
    (rules.Unproven, "test_its_findings_show_their_evidence", {"sick_run": QUIET}, "opinion"),
    (rules.Overconfident, "test_its_findings_are_well_formed", {}, "1.5"),
    (rules.Lost, "test_its_findings_are_well_formed", {}, "as the anatomy names them"),
    (rules.Hedging, "test_its_findings_speak_as_the_house_does", {}, "might"),
    (rules.Talkative, "test_its_findings_speak_as_the_house_does", {}, "one sentence"),
    (
        rules.Absolute,
        "test_the_same_training_told_otherwise_gets_the_same_findings",
        {"symmetry": Symmetry.LOSS_SCALE},
        "the scale of the loss must not matter",
    ),
    (
        rules.FirstCome,
        "test_the_same_training_told_otherwise_gets_the_same_findings",
        {"symmetry": Symmetry.PARAMETER_ORDER},
        "the order of parameters must not matter",
    ),
    (rules.Heavy, "test_it_asks_for_no_torch_while_it_examines", {"sick_run": QUIET}, "torch"),
    (Loaded, "test_it_opens_without_torch", {}, "imports torch"),
)


@pytest.mark.parametrize(("rule", "check", "given", "said"), FLAWED, ids=[f"{flaw[0].__name__}-{flaw[1]}" for flaw in FLAWED])
def test_a_flaw_is_caught_by_the_check_that_is_there_for_it(rule: type[Rule], check: str, given: dict[str, Any], said: str) -> None:
    suite = type("Suite", (RuleConformance,), {"rule": rule, "sick": {"quiet": QUIET}, "healthy": {"nothing": healthy()}})()
    with pytest.raises(AssertionError, match=said):
        getattr(suite, check)(**given)


def test_a_rule_that_writes_on_the_record_cannot() -> None:
    suite = type("Suite", (RuleConformance,), {"rule": rules.Scribbling, "sick": {"quiet": QUIET}, "healthy": {}})()
    with pytest.raises(ValueError, match="read-only"):
        suite.test_it_says_the_same_twice_and_leaves_the_record_as_it_was()


def test_a_rule_without_records_does_not_pass() -> None:
    suite = type("Suite", (RuleConformance,), {"rule": rules.QuietLayer, "sick": {}, "healthy": {}})()
    with pytest.raises(AssertionError, match="has no record that it names"):
        suite.test_there_is_a_sick_record_and_a_healthy_neighbour()


def test_the_suite_opens_without_torch_and_the_rest_of_the_house_without_pytest() -> None:
    code = (
        "import sys, unvanish.plugins.rules, unvanish.docgen, unvanish.cli; assert 'pytest' not in sys.modules\n"
        "import unvanish.testing; assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "wrong"),
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
def test_prose_is_certain_calm_and_without_holes(text: str, wrong: list[str]) -> None:
    assert objections(text) == wrong


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
def test_one_sentence_is_told_from_two(text: str, one: bool) -> None:
    assert is_one_sentence(text) is one


def test_a_healthy_record_made_by_hand_falls() -> None:
    assert falling()[0] > falling()[-1]
