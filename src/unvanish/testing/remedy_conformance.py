"""The suite that every remedy must pass, ours and others': subclass RemedyConformance, name the remedy, run pytest.

It tries the remedy on small networks of every kind and holds it to what is promised of all remedies, never to a cure: for that
there are races. `python -m unvanish.testing.remedy_conformance [NAME ...]` prints a table of remedies by networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from functools import cache
from typing import ClassVar

import pytest
import torch

from unvanish.docgen import cards
from unvanish.plugins.entry_points import KEBAB
from unvanish.plugins.remedies import catalogue
from unvanish.remedies import Remedy, built_in_catalogue
from unvanish.remedies.base import FAMILIES
from unvanish.testing.invariants import Finding, deploy, examine
from unvanish.testing.networks import PATIENTS, Patient
from unvanish.testing.prose import is_one_sentence, objections

SIGNS = {"applied": "+", "not applicable": ".", "broken": "X"}


class RemedyConformance:
    """What every remedy is held to. A subclass whose name begins with Test gives the remedy:

    `remedy` is the class. `networks` are those that it is tried on, each by a name that says what is special about it: by
    default one of every kind. Add some of your own where it acts on networks of a rare kind.
    """

    remedy: ClassVar[type[Remedy]]
    networks: ClassVar[Mapping[str, Patient]] = PATIENTS

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each network that a test asks for by its argument."""
        if "network" in metafunc.fixturenames:
            among = type(self).networks
            metafunc.parametrize("network", list(among.values()), ids=list(among))

    def test_the_card_opens_with_a_sentence(self) -> None:
        summary = cards.card_of(self.remedy()).summary
        assert is_one_sentence(summary), f"the first paragraph of the docstring must be one sentence: {summary!r}"
        assert objections(summary) == []

    @pytest.mark.parametrize("heading", cards.OF_A_REMEDY)
    def test_the_card_has_a_section_with_each_heading(self, heading: str) -> None:
        text = cards.card_of(self.remedy()).section(heading)
        assert text, f"the docstring of {self.remedy.__qualname__} must have a paragraph that begins '{heading}:'"

    def test_the_name_is_in_kebab_case_and_no_other_remedy_has_it(self) -> None:
        assert KEBAB.fullmatch(self.remedy.name), f"{self.remedy.name!r} is not in kebab-case"
        others = {name: type(remedy) for name, remedy in built_in_catalogue().items()}
        assert others.get(self.remedy.name, self.remedy) is self.remedy, f"{self.remedy.name} is taken by a remedy of unvanish"

    def test_family_summary_and_what_it_treats_are_what_lists_need(self) -> None:
        assert self.remedy.family in FAMILIES
        assert "\n" not in self.remedy.summary
        assert objections(self.remedy.summary) == []
        assert self.remedy.treats, "a remedy that treats nothing is never prescribed"
        assert all(KEBAB.fullmatch(code) for code in self.remedy.treats)

    def test_it_acts_on_some_network(self) -> None:
        found = [_examined(self.remedy, network) for network in self.networks.values()]
        assert any(each.applied for each in found), (
            f"it acts on none of them: {sorted({w for each in found for w in each.refusals})}"
        )

    def test_its_refusals_say_what_to_do_instead(self) -> None:
        heard = {words for network in self.networks.values() for words in _examined(self.remedy, network).refusals}
        curt = sorted(words for words in heard if ";" not in words)
        assert curt == [], "a refusal gives the reason, then a semicolon, then what to do instead"

    def test_it_keeps_what_is_promised(self, network: Patient) -> None:
        faults = _examined(self.remedy, network).faults
        assert not faults, "\n".join(faults)

    def test_what_it_made_compiles_and_trains_in_parallel(self) -> None:
        """On the first, the middle and the last network that it acts on: the compiler takes its time."""
        acted = [name for name, network in self.networks.items() if _examined(self.remedy, network).applied]
        chosen = dict.fromkeys([*acted[:1], *acted[len(acted) // 2 :][:1], *acted[-1:]])
        faults = deploy(self.remedy(), {name: self.networks[name] for name in chosen})
        assert not faults, "\n".join(faults)


def table(remedies: Mapping[str, Remedy], networks: Mapping[str, Patient] = PATIENTS) -> str:
    """What comes of each remedy on each network, a line each; then every broken promise, and why remedies did not act."""
    found = {name: {kind: examine(remedy, patient) for kind, patient in networks.items()} for name, remedy in remedies.items()}
    width = max(map(len, found), default=0)
    lines = [f"{'':{width}}  {'|' * at}{kind}" for at, kind in enumerate(networks)]
    lines += [f"{name:{width}}  {''.join(SIGNS[each.word] for each in row.values())}" for name, row in found.items()]
    lines += ["", "+ applied   . not applicable   X broken", ""]
    lines += [f"{name}, {kind}: broken: {fault}" for name, kind, each in _flat(found) for fault in each.faults]
    lines += [f"{kind}: {each.refusals[0]}" for _, kind, each in _flat(found) if each.refusals and not each.applied]
    return "\n".join(lines)


def main() -> None:
    """Prints the table of the remedies named, by default of all that are installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *catalogue()], help="remedies; by default all")
    names: list[str] = parser.parse_args().names
    torch.set_num_threads(1)
    print(table({name: remedy for name, remedy in catalogue().items() if not names or name in names}))


@cache
def _examined(kind: type[Remedy], network: Patient) -> Finding:
    return examine(kind(), network)


def _flat(found: Mapping[str, Mapping[str, Finding]]) -> Iterable[tuple[str, str, Finding]]:
    return ((name, kind, each) for name, row in found.items() for kind, each in row.items())


if __name__ == "__main__":
    main()
