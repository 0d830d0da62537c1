"""The conformance suite for remedies: subclass `RemedyConformance`, set the remedy, and run pytest.

`python -m unvanish.testing.remedy_conformance [NAME ...]` prints a table of remedies by networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import cache
from typing import ClassVar

import pytest
import torch

from unvanish.docgen import cards
from unvanish.plugins.entry_points import KEBAB
from unvanish.plugins.remedies import catalogue
from unvanish.remedies import Remedy, built_in_catalogue
from unvanish.remedies.base import FAMILIES
from unvanish.testing.invariants import ConformanceResult, check_compiled_and_distributed, check_remedy
from unvanish.testing.networks import SAMPLE_NETWORKS, SampleNetwork
from unvanish.testing.prose import find_wording_problems, is_one_sentence

STATUS_SIGNS = {"applied": "+", "not applicable": ".", "broken": "X"}


class RemedyConformance:
    """The tests that every remedy has to pass. Whether it cures a training is not tested; races show that.

    Subclass it in a test module, under a name that begins with Test, and set:

    - `remedy`: the class of the remedy, which takes no arguments.
    - `networks`: the networks on which it is tried, by a name that describes them; by default `SAMPLE_NETWORKS`, 21 kinds. Add
      networks of your own where the remedy acts on a rare kind only: `SAMPLE_NETWORKS | {"gated": SampleNetwork(...)}`.

    Checked are: the docstring (a first sentence and one paragraph for each heading); name, family, summary and `treats`; that it
    acts on at least one network; that a refusal is a `NotApplicable` that begins with the remedy's name and gives advice after a
    semicolon. On each network: planning alters and draws nothing; equal seeds give equal weights; the program's random state stays
    as it was, and so do parameters, optimizer state, modes and attributes that it has no reason to alter; the network trains, and
    can be copied, saved and resumed from a checkpoint; a second application works or is refused; undo restores every bit. On three
    of the networks also: it compiles, and trains under DistributedDataParallel. Each check is a test method that raises
    AssertionError with what is wrong.

    Example:
        >>> from unvanish.remedies import built_in_catalogue
        >>> from unvanish.testing import SAMPLE_NETWORKS
        >>> class TestHeInit(RemedyConformance):
        ...     remedy = type(built_in_catalogue()["he-init"])
        ...     networks = {"mlp": SAMPLE_NETWORKS["mlp"]}
        >>> TestHeInit().test_it_has_no_violations(SAMPLE_NETWORKS["mlp"])
    """

    remedy: ClassVar[type[Remedy]]
    networks: ClassVar[Mapping[str, SampleNetwork]] = SAMPLE_NETWORKS

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrises the tests with an argument `network`."""
        if "network" in metafunc.fixturenames:
            networks = type(self).networks
            metafunc.parametrize("network", list(networks.values()), ids=list(networks))

    def test_the_docstring_begins_with_one_sentence(self) -> None:
        summary = cards.parse_class_card(self.remedy()).summary
        assert is_one_sentence(summary), f"the first paragraph of the docstring must be one sentence: {summary!r}"
        assert find_wording_problems(summary) == []

    @pytest.mark.parametrize("heading", cards.REMEDY_HEADINGS)
    def test_the_docstring_has_a_section_with_each_heading(self, heading: str) -> None:
        text = cards.parse_class_card(self.remedy()).section(heading)
        assert text, f"the docstring of {self.remedy.__qualname__} must have a paragraph that begins '{heading}:'"

    def test_the_name_is_in_kebab_case_and_no_other_remedy_has_it(self) -> None:
        assert KEBAB.fullmatch(self.remedy.name), f"{self.remedy.name!r} is not in kebab-case"
        others = {name: type(remedy) for name, remedy in built_in_catalogue().items()}
        assert others.get(self.remedy.name, self.remedy) is self.remedy, f"{self.remedy.name} is taken by a remedy of unvanish"

    def test_family_summary_and_treats_are_valid(self) -> None:
        assert self.remedy.family in FAMILIES
        assert "\n" not in self.remedy.summary
        assert find_wording_problems(self.remedy.summary) == []
        assert self.remedy.treats, "a remedy that treats nothing is never prescribed"
        assert all(KEBAB.fullmatch(code) for code in self.remedy.treats)

    def test_it_acts_on_some_network(self) -> None:
        results = [_check_cached(self.remedy, network) for network in self.networks.values()]
        assert any(result.applied for result in results), (
            f"it acts on none of them: {sorted({refusal for result in results for refusal in result.refusals})}"
        )

    def test_its_refusals_give_advice(self) -> None:
        refusals = {refusal for network in self.networks.values() for refusal in _check_cached(self.remedy, network).refusals}
        without_advice = sorted(refusal for refusal in refusals if ";" not in refusal)
        assert without_advice == [], "a refusal gives the reason, then a semicolon, then what to do instead"

    def test_it_has_no_violations(self, network: SampleNetwork) -> None:
        violations = _check_cached(self.remedy, network).violations
        assert not violations, "\n".join(violations)

    def test_a_treated_network_compiles_and_trains_distributed(self) -> None:
        """Checked on the first, the middle and the last network to which it applies, since compilation is slow."""
        applied = [name for name, network in self.networks.items() if _check_cached(self.remedy, network).applied]
        selected = dict.fromkeys([*applied[:1], *applied[len(applied) // 2 :][:1], *applied[-1:]])
        violations = check_compiled_and_distributed(self.remedy(), {name: self.networks[name] for name in selected})
        assert not violations, "\n".join(violations)


def format_table(remedies: Mapping[str, Remedy], networks: Mapping[str, SampleNetwork] = SAMPLE_NETWORKS) -> str:
    """A table with one line for each remedy and one sign for each network, then all violations and the reasons of refusals."""
    results = {name: {key: check_remedy(remedy, sample) for key, sample in networks.items()} for name, remedy in remedies.items()}
    width = max(map(len, results), default=0)
    lines = [f"{'':{width}}  {'|' * column}{key}" for column, key in enumerate(networks)]
    lines += [f"{name:{width}}  {''.join(STATUS_SIGNS[result.status] for result in row.values())}" for name, row in results.items()]
    lines += ["", "+ applied   . not applicable   X broken", ""]
    entries = [(name, key, result) for name, row in results.items() for key, result in row.items()]
    lines += [f"{name}, {key}: broken: {violation}" for name, key, result in entries for violation in result.violations]
    lines += [f"{key}: {result.refusals[0]}" for _, key, result in entries if result.refusals and not result.applied]
    return "\n".join(lines)


def main() -> None:
    """Prints the table for the remedies named on the command line, by default for all that are installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *catalogue()], help="remedies; by default all")
    names: list[str] = parser.parse_args().names
    torch.set_num_threads(1)
    print(format_table({name: remedy for name, remedy in catalogue().items() if not names or name in names}))


@cache
def _check_cached(remedy: type[Remedy], network: SampleNetwork) -> ConformanceResult:
    return check_remedy(remedy(), network)


if __name__ == "__main__":
    main()
