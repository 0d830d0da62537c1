"""Which candidates a race begins with: what the findings ask for, planned on the live network and written as edits. It races
nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unvanish.errors import NotApplicable, TrialError
from unvanish.race import Candidate, candidate_as_line, candidate_in_source, patch_of
from unvanish.record.change import PatchContext, Plan
from unvanish.record.finding import Finding
from unvanish.record.race_plan import IN_PLACE, ONE_LINE, PlannedCandidate

MOST_CANDIDATES = 12  # in two waves, of which the second seldom starts
RATE = "learning-rate"
# Factors on the learning rate that are tried, the likeliest first: down, up, or both ways where the finding does not say.
DOWN, UP = (0.1, 0.03, 0.01, 0.3, 0.001), (10.0, 30.0, 3.0, 100.0, 1000.0)
FACTORS = {
    **dict.fromkeys(("learning-rate-too-high", "dead-units", "unscaled-input", "non-finite"), DOWN),
    **dict.fromkeys(("exploding-gradient", "gradient-noise", "attention-collapse"), DOWN),
    **dict.fromkeys(("learning-rate-too-low", "clipping-dominates", "optimizer-epsilon"), UP),
}
AROUND = (0.1, 0.3, 3.0, 10.0)
EARLY_FACTORS = 4  # of a learning rate come at its place among the candidates, the others last
# Remedies that bring an optimizer with a learning rate of its own are tried with a larger one too, where steps were too small.
OWN_RATE, LARGER = frozenset({"adamw", "sgd-momentum"}), {"learning-rate-too-low": 10.0}


@dataclass(frozen=True, slots=True)
class CandidateSelection:
    """The candidates of a race, best first, and what was refused: pairs of a name and the reason."""

    treatments: tuple[Candidate, ...]
    refused: tuple[tuple[str, str], ...] = ()


def named(remedies: Sequence[str]) -> list[tuple[str, ...]]:
    """The candidates that a person asked for. Raises UnknownRemedy."""
    from unvanish.plugins.remedies import catalogue
    from unvanish.remedies import remedy

    known = catalogue()
    return [tuple(remedy(name.strip(), known).name for name in text.split("+")) for text in remedies]


def advised(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """The candidates for some findings, one for each leading remedy, with its partner where it has one."""
    from unvanish.plugins.remedies import catalogue
    from unvanish.remedies.combinations import contenders

    root = findings[0]
    codes = (root.code, root.cause.code) if root.cause is not None else (root.code,)
    names = [name for finding in findings for name in finding.remedies]
    return list(contenders(names, codes, catalogue()))[:MOST_CANDIDATES]


CandidateWriter = Callable[[Plan, PatchContext, float | None], Candidate]
"""Writes a plan as a candidate; the number is a factor on the learning rate besides.

Raises TrialError or NotApplicable where it cannot be written.
"""


def chosen(
    blueprint: PatchContext, wanted: Sequence[tuple[str, ...]], findings: Sequence[Finding], author: CandidateWriter
) -> CandidateSelection:
    """The candidates of `wanted` that can act on the script, as edits; a learning rate is tried at several values.

    Plans that the rehearsal refused are left out, and candidates whose edit is that of an earlier one.
    """
    plans = {plan.remedies: plan for plan in blueprint.plans}
    early, late = list[Candidate](), list[Candidate]()
    refused: list[tuple[str, str]] = []
    for names in wanted:
        plan = plans.get(names, Plan(names))
        try:
            found = _written(plan, blueprint, findings, author)
            early += found[:EARLY_FACTORS]
            late += found[EARLY_FACTORS:]
        except (TrialError, NotApplicable) as why:
            refused.append((" + ".join(names), str(why)))
        except Exception as fault:  # one source that cannot be edited as we thought must not end the race of the others
            refused.append((" + ".join(names), f"it could not be written ({type(fault).__name__}: {fault}); please report it"))
    treatments: dict[tuple[tuple[Path, str], ...], Candidate] = {}
    for each in (*early, *late):
        treatments.setdefault(each.edits, each)
    return CandidateSelection(tuple(treatments.values()), tuple(refused))


def in_source(plan: Plan, blueprint: PatchContext, factor: float | None) -> Candidate:
    """A plan as an edit of the user's source: in place where that can be said there, else as one `unvanish.apply` line."""
    from unvanish.plugins.remedies import catalogue

    if plan.steps and plan.remedies != (RATE,):
        return candidate_in_source(plan, blueprint, rate_factor=factor)
    if blueprint.entry is None:
        raise NotApplicable("no line of the script is known that builds an optimizer for its network, where it could be applied")
    if factor is not None:
        return candidate_in_source(Plan((RATE,)), blueprint, rate_factor=factor)
    late = any(catalogue()[name].family == "optimisation" for name in plan.remedies)
    return candidate_as_line(blueprint.entry, plan.remedies, after_optimizer=late)


def _written(plan: Plan, blueprint: PatchContext, findings: Sequence[Finding], author: CandidateWriter) -> list[Candidate]:
    from unvanish.plugins.remedies import catalogue

    if plan.remedies == (RATE,):
        return [author(plan, blueprint, factor) for factor in factors(findings)]
    if plan.refusal:
        raise NotApplicable(plan.refusal)
    altered = any(catalogue()[name].alters_loss for name in plan.remedies)
    larger = next((LARGER[finding.code] for finding in findings if finding.code in LARGER), None)
    tried = [None, larger] if larger and plan.steps and OWN_RATE.issuperset(plan.remedies) else [None]
    return [replace(author(plan, blueprint, factor), alters_loss=altered) for factor in tried]


def as_planned(each: Candidate, findings: Sequence[Finding], *, asked: bool) -> PlannedCandidate:
    """A candidate as a person reads it before the race: which finding asks for it, and how the source would be edited."""
    asks = next((f.code for f in findings if each.remedies[0] in " ".join(f.remedies)), findings[0].code if findings else "")
    patch = patch_of(each, Path.cwd())
    added = [line[1:] for line in patch.splitlines() if line.startswith("+") and not line.startswith("+++")]
    one_line = any(line.strip().startswith("unvanish.apply(") for line in added)
    return PlannedCandidate(each.remedies, "" if asked else asks, ONE_LINE if one_line else IN_PLACE, len(added), each.variant)


def factors(findings: Sequence[Finding]) -> tuple[float, ...]:
    """The factors on the learning rate that some findings ask to be tried."""
    return next((FACTORS[finding.code] for finding in findings if finding.code in FACTORS), AROUND)
