"""The conformance suite for rules: subclass `RuleConformance`, set the rule and its records, and run pytest."""

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
from unvanish.testing.prose import find_wording_problems, is_one_sentence
from unvanish.testing.record_variations import Symmetry, equivalent_records, read_only, reduced_records
from unvanish.testing.torch_free import imports_without_torch, record_torch_imports


class RuleConformance:
    """The tests that every rule of `unvanish.diagnose` has to pass. They need no torch and no training.

    Subclass it in a test module, under a name that begins with Test, and set:

    - `rule`: the class of the rule. It must stand in a module that can be imported by its name.
    - `sick`: records for which the rule has a finding, by a name that describes them. At least one.
    - `healthy`: records like them for which it has no finding that is a warning or worse. At least one.
    - `symmetries`: the changes of a record that must not change its findings, by default all of `Symmetry`. Leave one out where
      it does not hold for the rule, and give the reason in a comment.

    Checked are: the docstring (a first sentence and one paragraph for each heading); code, rank and `explains`; that its module
    imports no torch; that it finds the sick records, also among all other rules, and not the healthy ones; that it is
    deterministic, leaves the record as it was, raises no exception and no warning on incomplete records; and that its findings
    have evidence with a threshold, sites of the record, a confidence in [0, 1] and plain wording. Each check is a test method that
    raises AssertionError with what is wrong.

    Example:
        >>> from unvanish.diagnose.rules.vanishing_gradient import VanishingGradient
        >>> from unvanish.testing import records
        >>> VANISHING = records.with_gradient_slope(records.healthy(losses=records.flat_loss()), -7.0)
        >>> class TestVanishingGradient(RuleConformance):
        ...     rule = VanishingGradient
        ...     sick = {"seven decades of gradient are lost": VANISHING}
        ...     healthy = {"a plain training": records.healthy()}
        >>> TestVanishingGradient().test_it_finds_its_sick_record(VANISHING)
    """

    rule: ClassVar[type[Rule]]
    sick: ClassVar[Mapping[str, Run]]
    healthy: ClassVar[Mapping[str, Run]]
    symmetries: ClassVar[frozenset[Symmetry]] = frozenset(Symmetry)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrises the tests with an argument `sick_run`, `healthy_run` or `symmetry`."""
        suite = type(self)
        for argument, runs in (("sick_run", suite.sick), ("healthy_run", suite.healthy)):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, list(runs.values()), ids=list(runs))
        if "symmetry" in metafunc.fixturenames:
            metafunc.parametrize("symmetry", sorted(suite.symmetries), ids=lambda symmetry: symmetry.name.lower())

    def test_there_is_a_sick_and_a_healthy_record(self) -> None:
        assert self.sick, f"{self.rule.code} has no record that it names"
        assert self.healthy, f"{self.rule.code} has no neighbour that it leaves alone"

    def test_the_docstring_begins_with_one_sentence(self) -> None:
        summary = cards.parse_class_card(self.rule()).summary
        assert is_one_sentence(summary), f"the first paragraph of the docstring must be one sentence: {summary!r}"
        assert find_wording_problems(summary) == []

    @pytest.mark.parametrize("heading", cards.RULE_HEADINGS)
    def test_the_docstring_has_a_paragraph_with_each_heading(self, heading: str) -> None:
        paragraphs = cards.split_paragraphs(self.rule.__dict__.get("__doc__"))
        matching = [paragraph for paragraph in paragraphs if paragraph.startswith(f"{heading}: ")]
        assert len(matching) == 1, f"the docstring of {self.rule.__qualname__} must have one paragraph that begins '{heading}:'"

    def test_the_code_is_in_kebab_case_and_no_other_rule_has_it(self) -> None:
        assert KEBAB.fullmatch(self.rule.code), f"{self.rule.code!r} is not in kebab-case"
        others = {rule.code: type(rule) for rule in built_in()}
        assert others.get(self.rule.code, self.rule) is self.rule, f"{self.rule.code} is taken by a rule of unvanish"

    def test_rank_and_explains_have_the_right_types(self) -> None:
        assert isinstance(self.rule.rank, int)
        assert isinstance(self.rule.explains, frozenset)
        assert self.rule.code not in self.rule.explains, "no finding explains itself"
        assert all(KEBAB.fullmatch(code) for code in self.rule.explains)

    def test_its_module_imports_no_torch(self) -> None:
        assert imports_without_torch(self.rule.__module__), f"{self.rule.__module__} imports torch; a rule sees only the record"

    def test_it_finds_its_sick_record(self, sick_run: Run) -> None:
        assert self.rule.code in {finding.code for finding in self._examined(sick_run)}

    def test_its_finding_is_kept_among_those_of_all_rules(self, sick_run: Run) -> None:
        others = [rule for rule in built_in() if rule.code != self.rule.code]
        findings = diagnose(sick_run, [*others, self.rule()])
        assert self.rule.code in {code for finding in findings for code in (finding.code, *finding.symptoms)}

    def test_it_has_no_loud_finding_for_a_healthy_record(self, healthy_run: Run) -> None:
        assert [(f.severity, f.summary) for f in self._examined(healthy_run) if f.severity.loud] == []

    def test_it_is_deterministic_and_leaves_the_record_as_it_was(self) -> None:
        for name, run in self._records():
            frozen_run = read_only(run)
            before = _comparable_run(frozen_run)
            first = repr(self._examined(frozen_run))
            assert repr(self._examined(frozen_run)) == first, f"the same record must get the same findings: {name}"
            assert repr(self._examined(read_only(run))) == first, f"equal records must get equal findings: {name}"
            assert _comparable_run(frozen_run) == before, f"a rule must leave the record as it was: {name}"

    def test_it_imports_no_torch_while_it_examines(self, sick_run: Run) -> None:
        with record_torch_imports() as torch_names:
            self._examined(sick_run)
        assert torch_names == []

    def test_it_raises_nothing_on_incomplete_records(self, sick_run: Run) -> None:
        for missing, run in reduced_records(sick_run):
            try:
                for finding in self._diagnosed(run):
                    _assert_well_formed(finding, run)
            except Exception as error:
                raise AssertionError(f"{self.rule.code} fails on a record with {missing}") from error

    def test_its_findings_have_evidence(self, sick_run: Run) -> None:
        for finding in self._examined(sick_run):
            assert finding.evidence, "a finding without evidence is an opinion"
            assert finding.evidence[0].threshold is not None, "the leading figure must stand beside the threshold that it crossed"
            for item in finding.evidence:
                assert all((item.quantity, item.unit, item.source)), f"quantity, unit and source belong to each figure: {item}"

    def test_its_findings_are_well_formed(self) -> None:
        for _, run in self._records():
            for finding in self._examined(run):
                _assert_well_formed(finding, run)

    def test_its_findings_are_worded_plainly(self) -> None:
        for _, run in self._records():
            for finding in self._examined(run):
                assert is_one_sentence(finding.summary), f"the summary must be one sentence: {finding.summary!r}"
                for text in (finding.summary, finding.why, *([finding.advice] if finding.advice else [])):
                    assert find_wording_problems(text) == [], text

    def test_equivalent_records_get_the_same_findings(self, symmetry: Symmetry) -> None:
        for name, run in self._records():
            before = [_comparable_finding(finding) for finding in self._examined(run)]
            for other in equivalent_records(run, symmetry):
                assert [_comparable_finding(finding) for finding in self._examined(other)] == before, (
                    f"{symmetry} must not matter: {name}"
                )

    def _records(self) -> list[tuple[str, Run]]:
        """All records of the rule, sick and healthy, with their names."""
        return [*self.sick.items(), *self.healthy.items()]

    def _examined(self, run: Run) -> list[Finding]:
        """The findings of the rule alone; a warning is an error, since it would be printed in a user's terminal."""
        with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            warnings.simplefilter("error")
            return list(self.rule().examine(RunView(run)))

    def _diagnosed(self, run: Run) -> list[Finding]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return diagnose(run, [self.rule()])


def _comparable_finding(finding: Finding) -> tuple[object, ...]:
    """The parts of a finding on which a user would act."""
    cause = finding.cause.code if finding.cause else None
    return finding.code, finding.severity, finding.sites, cause, finding.remedies, finding.began


def _comparable_run(run: Run) -> tuple[object, ...]:
    """The whole record as values that can be compared, with NaN equal to NaN."""
    arrays = {**run.readings, "sampled": run.sampled, "steps": run.steps, "ended_s": run.ended_s, "losses": run.losses}
    other_fields = repr((run.facts, run.structure, run.metrics, run.race, run.examination))
    return other_fields, *((name, array.shape, array.tobytes()) for name, array in arrays.items())


def _assert_well_formed(finding: Finding, run: Run) -> None:
    assert isinstance(finding.severity, Severity)
    assert 0 <= finding.confidence <= 1
    assert len(set(finding.sites)) == len(finding.sites), "each site once"
    assert set(finding.sites) <= _list_known_places(run), "sites are named as the record names them: view.site_labels(...)"
    assert finding.began is None or finding.began in run.sampled or finding.began in run.steps


def _list_known_places(run: Run) -> set[str]:
    """All names that a finding may have as a site: sites, parameters, networks, and the operations of a traced step."""
    structure = run.structure
    known = {structure.site_label(i) for i in range(len(structure.sites))}
    known |= {structure.parameter_label(i) for i in range(len(structure.parameters))} | {
        network.name for network in structure.networks
    }
    if run.examination is not None:
        flow = run.examination.flow
        known |= {name for op in flow.ops for name in (op.label, op.path, *op.parameters)}
        known |= {name for time in flow.times for name in (time.name, time.path)}
    return known
