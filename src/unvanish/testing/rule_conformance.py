"""The suite that every rule must pass, ours and others': subclass RuleConformance, name the rule and its records, run pytest.

It checks what can be told from records alone: that a rule keeps its contract, and speaks as the house does.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest

from unvanish.diagnose import diagnose
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.rules import built_in
from unvanish.diagnose.run_view import RunView
from unvanish.docgen import cards
from unvanish.plugins.entry_points import KEBAB
from unvanish.record.finding import Finding, Severity
from unvanish.record.run import Run
from unvanish.testing.prose import is_one_sentence, objections
from unvanish.testing.record_variations import Symmetry, poorer, read_only, retold
from unvanish.testing.torch_free import listening_for_torch, opens_without_torch


class RuleConformance:
    """What every rule is held to. A subclass whose name begins with Test gives the rule and its records:

    `rule` is the class. `sick` are records that it names, `healthy` neighbours that it leaves alone, each by a name that says
    what they are. `symmetries` are the changes of telling that change nothing for it; leave out one that does not
    hold, and say why.
    """

    rule: ClassVar[type[Rule]]
    sick: ClassVar[Mapping[str, Run]]
    healthy: ClassVar[Mapping[str, Run]]
    symmetries: ClassVar[frozenset[Symmetry]] = frozenset(Symmetry)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each record and symmetry that a test asks for by its argument."""
        kind = type(self)
        for argument, among in (("sick_run", kind.sick), ("healthy_run", kind.healthy)):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, list(among.values()), ids=list(among))
        if "symmetry" in metafunc.fixturenames:
            metafunc.parametrize("symmetry", sorted(kind.symmetries), ids=lambda symmetry: symmetry.name.lower())

    def test_there_is_a_sick_record_and_a_healthy_neighbour(self) -> None:
        assert self.sick, f"{self.rule.code} has no record that it names"
        assert self.healthy, f"{self.rule.code} has no neighbour that it leaves alone"

    def test_the_card_opens_with_a_sentence(self) -> None:
        summary = cards.card_of(self.rule()).summary
        assert is_one_sentence(summary), f"the first paragraph of the docstring must be one sentence: {summary!r}"
        assert objections(summary) == []

    @pytest.mark.parametrize("heading", cards.OF_A_RULE)
    def test_the_card_has_a_paragraph_with_each_heading(self, heading: str) -> None:
        own = cards.own_paragraphs(self.rule.__dict__.get("__doc__"))
        under = [paragraph for paragraph in own if paragraph.startswith(f"{heading}: ")]
        assert len(under) == 1, f"the docstring of {self.rule.__qualname__} must have one paragraph that begins '{heading}:'"

    def test_the_code_is_in_kebab_case_and_no_other_rule_has_it(self) -> None:
        assert KEBAB.fullmatch(self.rule.code), f"{self.rule.code!r} is not in kebab-case"
        others = {rule.code: type(rule) for rule in built_in()}
        assert others.get(self.rule.code, self.rule) is self.rule, f"{self.rule.code} is taken by a rule of unvanish"

    def test_rank_and_what_it_explains_are_what_the_fold_needs(self) -> None:
        assert isinstance(self.rule.rank, int)
        assert isinstance(self.rule.explains, frozenset)
        assert self.rule.code not in self.rule.explains, "no finding explains itself"
        assert all(KEBAB.fullmatch(code) for code in self.rule.explains)

    def test_it_opens_without_torch(self) -> None:
        assert opens_without_torch(self.rule.__module__), f"{self.rule.__module__} imports torch; a rule sees only the record"

    def test_it_names_its_sick_record(self, sick_run: Run) -> None:
        assert self.rule.code in {finding.code for finding in self._examined(sick_run)}

    def test_its_finding_is_not_lost_among_those_of_the_other_rules(self, sick_run: Run) -> None:
        others = [rule for rule in built_in() if rule.code != self.rule.code]
        found = diagnose(sick_run, [*others, self.rule()])
        assert self.rule.code in {code for finding in found for code in (finding.code, *finding.symptoms)}

    def test_it_leaves_a_healthy_neighbour_alone(self, healthy_run: Run) -> None:
        assert [(f.severity, f.summary) for f in self._examined(healthy_run) if f.severity.loud] == []

    def test_it_says_the_same_twice_and_leaves_the_record_as_it_was(self) -> None:
        for name, run in self._records():
            sealed = read_only(run)
            before = _portrait(sealed)
            first = repr(self._examined(sealed))
            assert repr(self._examined(sealed)) == first, f"the same record must get the same findings: {name}"
            assert repr(self._examined(read_only(run))) == first, f"equal records must get equal findings: {name}"
            assert _portrait(sealed) == before, f"a rule must leave the record as it was: {name}"

    def test_it_asks_for_no_torch_while_it_examines(self, sick_run: Run) -> None:
        with listening_for_torch() as heard:
            self._examined(sick_run)
        assert heard == []

    def test_it_survives_whatever_a_record_lacks(self, sick_run: Run) -> None:
        for missing, run in poorer(sick_run):
            try:
                for finding in self._diagnosed(run):
                    _assert_well_formed(finding, run)
            except Exception as fault:
                raise AssertionError(f"{self.rule.code} fails on a record with {missing}") from fault

    def test_its_findings_show_their_evidence(self, sick_run: Run) -> None:
        for finding in self._examined(sick_run):
            assert finding.evidence, "a finding without evidence is an opinion"
            assert finding.evidence[0].threshold is not None, "the leading figure must stand beside the threshold that it crossed"
            for shown in finding.evidence:
                assert all((shown.quantity, shown.unit, shown.source)), f"quantity, unit and source belong to each figure: {shown}"

    def test_its_findings_are_well_formed(self) -> None:
        for _, run in self._records():
            for finding in self._examined(run):
                _assert_well_formed(finding, run)

    def test_its_findings_speak_as_the_house_does(self) -> None:
        for _, run in self._records():
            for finding in self._examined(run):
                assert is_one_sentence(finding.summary), f"the summary must be one sentence: {finding.summary!r}"
                for said in (finding.summary, finding.why, *([finding.advice] if finding.advice else [])):
                    assert objections(said) == [], said

    def test_the_same_training_told_otherwise_gets_the_same_findings(self, symmetry: Symmetry) -> None:
        for name, run in self._records():
            before = [_gist(finding) for finding in self._examined(run)]
            for other in retold(run, symmetry):
                assert [_gist(finding) for finding in self._examined(other)] == before, f"{symmetry} must not matter: {name}"

    def _records(self) -> list[tuple[str, Run]]:
        """All records of the rule, sick and healthy, with their names."""
        return [*self.sick.items(), *self.healthy.items()]

    def _examined(self, run: Run) -> list[Finding]:
        """The findings, asked for as `diagnose` does; a warning is an error, since it would end up in a person's terminal."""
        with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            warnings.simplefilter("error")
            return list(self.rule().examine(RunView(run)))

    def _diagnosed(self, run: Run) -> list[Finding]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return diagnose(run, [self.rule()])


def _gist(finding: Finding) -> tuple[object, ...]:
    """What a person would act on."""
    cause = finding.cause.code if finding.cause else None
    return finding.code, finding.severity, finding.sites, cause, finding.remedies, finding.began


def _portrait(run: Run) -> tuple[object, ...]:
    """The whole record as something that can be compared, missing values and all."""
    arrays = {**run.readings, "sampled": run.sampled, "steps": run.steps, "ended_s": run.ended_s, "losses": run.losses}
    told = repr((run.facts, run.anatomy, run.metrics, run.race, run.examination))
    return told, *((name, array.shape, array.tobytes()) for name, array in arrays.items())


def _assert_well_formed(finding: Finding, run: Run) -> None:
    assert isinstance(finding.severity, Severity)
    assert 0 <= finding.confidence <= 1
    assert len(set(finding.sites)) == len(finding.sites), "each site once"
    assert set(finding.sites) <= _places(run), "sites are named as the anatomy names them: chart.labels(...)"
    assert finding.began is None or finding.began in run.sampled or finding.began in run.steps


def _places(run: Run) -> set[str]:
    """All that a finding may name: sites, parameters and networks, and what the exact look at the first step saw."""
    anatomy = run.anatomy
    known = {anatomy.site_label(i) for i in range(len(anatomy.sites))}
    known |= {anatomy.parameter_label(i) for i in range(len(anatomy.parameters))} | {network.name for network in anatomy.networks}
    if run.examination is not None:
        flow = run.examination.flow
        known |= {name for op in flow.ops for name in (op.label, op.path, *op.parameters)}
        known |= {name for time in flow.times for name in (time.name, time.path)}
    return known
