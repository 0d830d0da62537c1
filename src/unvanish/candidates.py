"""Which candidates a race begins with: what the findings ask for, planned on the live network and written as edits. It races nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unvanish.errors import NotApplicable, TrialError
from unvanish.race import Treatment, rate_treatment, treatment
from unvanish.record.anatomy import Entry
from unvanish.record.finding import Finding
from unvanish.record.treatment import Blueprint, Plan

MOST_CANDIDATES = 12  # in two waves, of which the second seldom starts
RATE = "learning-rate"
# Factors on the learning rate that are tried, half a decade apart: down, up, or both ways where the finding does not say.
DOWN, UP = (0.3, 0.1, 0.03, 0.01), (3.0, 10.0, 30.0, 100.0, 1000.0)
FACTORS = {"learning-rate-too-high": DOWN, "learning-rate-too-low": UP}
AROUND = (0.1, 0.3, 3.0, 10.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidates of a race, best first, and what was refused: pairs of a name and the reason."""

    treatments: tuple[Treatment, ...]
    refused: tuple[tuple[str, str], ...] = ()


def named(remedies: Sequence[str]) -> list[tuple[str, ...]]:
    """The candidates that a person asked for. Raises UnknownRemedy."""
    from unvanish.dispensary import shelf
    from unvanish.remedies import remedy

    known = shelf()
    return [tuple(remedy(name.strip(), known).name for name in text.split("+")) for text in remedies]


def advised(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """The candidates for some findings, one for each leading remedy, with its partner where it has one."""
    from unvanish.dispensary import shelf
    from unvanish.remedies.combinations import candidates

    root = findings[0]
    codes = (root.code, root.cause.code) if root.cause is not None else (root.code,)
    names = [name for finding in findings for name in finding.remedies]
    best: dict[str, tuple[str, ...]] = {}
    for each in candidates(names, codes, shelf()):
        if len(each) > len(best.get(each[0], ())):
            best[each[0]] = each
    return list(best.values())[:MOST_CANDIDATES]


def chosen(
    blueprint: Blueprint | None, entry: Entry | None, wanted: Sequence[tuple[str, ...]], findings: Sequence[Finding]
) -> Choice:
    """The candidates of `wanted` that can act on the script, as edits of its source.

    `entry` is where a change can enter; plans that the rehearsal refused are left out. A learning rate is tried at several values.
    """
    plans = {plan.remedies: plan for plan in blueprint.plans} if blueprint is not None else {}
    treatments: list[Treatment] = []
    refused: list[tuple[str, str]] = []
    for names in wanted:
        plan = plans.get(names, Plan(names))
        try:
            treatments += _treatments(plan, blueprint, entry, findings)
        except (TrialError, NotApplicable) as why:
            refused.append((" + ".join(names), str(why)))
    return Choice(tuple(treatments), tuple(refused))


def _treatments(plan: Plan, blueprint: Blueprint | None, entry: Entry | None, findings: Sequence[Finding]) -> list[Treatment]:
    from unvanish.dispensary import shelf

    if entry is None:
        raise NotApplicable("no line of the script is known at which it could be applied: none builds an optimizer for its network")
    if plan.remedies == (RATE,):
        return [rate_treatment(entry, factor) for factor in factors(findings)]
    if plan.refusal:
        raise NotApplicable(plan.refusal)
    late = any(shelf()[name].family == "optimisation" for name in plan.remedies)
    made = treatment(entry, plan.remedies, after_optimizer=late)
    return [replace(made, alters_loss=any(getattr(shelf()[name], "alters_loss", False) for name in plan.remedies))]


def factors(findings: Sequence[Finding]) -> tuple[float, ...]:
    """The factors on the learning rate that some findings ask to be tried."""
    return next((FACTORS[finding.code] for finding in findings if finding.code in FACTORS), AROUND)
