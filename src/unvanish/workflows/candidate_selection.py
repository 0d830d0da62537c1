"""Which candidates a race begins with: what the findings ask for, planned on the live network and written as edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unvanish.errors import NotApplicable, TrialError
from unvanish.race import EditedCandidate, edit_source, insert_apply_line, write_patch
from unvanish.record.finding import Finding
from unvanish.record.network_changes import PatchContext, Plan
from unvanish.record.races.race_plan import IN_PLACE, ONE_LINE, PlannedCandidate

MOST_CANDIDATES = 12  # in two waves, of which the second seldom starts
RATE = "learning-rate"
# Factors on the learning rate that are tried, the likeliest first: down, up, or both ways where the finding does not say.
DOWN, UP = (0.1, 0.03, 0.01, 0.3, 0.001), (10.0, 30.0, 3.0, 100.0, 1000.0)
FACTORS = {
    **dict.fromkeys(("learning-rate-too-high", "dead-units", "unscaled-input", "non-finite"), DOWN),
    **dict.fromkeys(("exploding-gradient", "gradient-noise", "attention-collapse"), DOWN),
    **dict.fromkeys(("learning-rate-too-low", "clipping-dominates", "optimizer-epsilon"), UP),
}
BOTH_WAYS = (0.1, 0.3, 3.0, 10.0)
EARLY_FACTORS = 4  # of a learning rate come at its place among the candidates, the others last
# Remedies that bring an optimizer with a learning rate of its own are tried with a larger one too, where steps were too small.
OWN_RATE, LARGER = frozenset({"adamw", "sgd-momentum"}), {"learning-rate-too-low": 10.0}

CandidateWriter = Callable[[Plan, PatchContext, float | None], EditedCandidate]
"""Writes a plan as a candidate; the number is a factor on the learning rate besides.

Raises TrialError or NotApplicable where it cannot be written.
"""


@dataclass(frozen=True, slots=True)
class CandidateSelection:
    """The candidates of a race, best first, and what was refused: pairs of a name and the reason."""

    candidates: tuple[EditedCandidate, ...]
    refused: tuple[tuple[str, str], ...] = ()


def parse_names(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The combinations of remedies that a person asked for, such as "relu+he-init". Raises UnknownRemedy."""
    from unvanish.plugins.remedies import catalogue
    from unvanish.remedies import get_remedy

    installed = catalogue()
    return [tuple(get_remedy(name.strip(), installed).name for name in text.split("+")) for text in texts]


def combinations_for(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """The combinations of remedies to try for some findings, one for each leading remedy, with its partner where it has one."""
    from unvanish.plugins.remedies import catalogue
    from unvanish.remedies.combinations import combinations_to_race

    root = findings[0]
    codes = (root.code, root.cause.code) if root.cause is not None else (root.code,)
    names = [name for finding in findings for name in finding.remedies]
    return list(combinations_to_race(names, codes, catalogue()))[:MOST_CANDIDATES]


def select_candidates(
    context: PatchContext, combinations: Sequence[tuple[str, ...]], findings: Sequence[Finding], write: CandidateWriter
) -> CandidateSelection:
    """The candidates among the combinations that can act on the script, as edits; a learning rate is tried at several values.

    Combinations that could not be planned are left out, and candidates whose edit is that of an earlier one.
    """
    plans = {plan.remedies: plan for plan in context.plans}
    early, late = list[EditedCandidate](), list[EditedCandidate]()
    refused: list[tuple[str, str]] = []
    for names in combinations:
        plan = plans.get(names, Plan(names))
        try:
            written = _write_all(plan, context, findings, write)
            early += written[:EARLY_FACTORS]
            late += written[EARLY_FACTORS:]
        except (TrialError, NotApplicable) as reason:
            refused.append((" + ".join(names), str(reason)))
        except Exception as fault:  # one source that cannot be edited as we thought must not end the race of the others
            refused.append((" + ".join(names), f"it could not be written ({type(fault).__name__}: {fault}); please report it"))
    by_edits: dict[tuple[tuple[Path, str], ...], EditedCandidate] = {}
    for candidate in (*early, *late):
        by_edits.setdefault(candidate.edits, candidate)
    return CandidateSelection(tuple(by_edits.values()), tuple(refused))


def write_in_source(plan: Plan, context: PatchContext, factor: float | None) -> EditedCandidate:
    """A plan as an edit of the user's source: in place where that can be said there, else as one `unvanish.apply` line."""
    if plan.steps and plan.remedies != (RATE,):
        return edit_source(plan, context, rate_factor=factor)
    if context.entry is None:
        raise NotApplicable("no line of the script is known that builds an optimizer for its network, where it could be applied")
    if factor is not None:
        return edit_source(Plan((RATE,)), context, rate_factor=factor)
    return insert_apply_line(context.entry, plan.remedies, after_optimizer=needs_optimizer(plan.remedies))


def needs_optimizer(remedies: Sequence[str]) -> bool:
    """Whether one of the remedies alters the optimizer, so that it is applied behind the line that builds it."""
    from unvanish.plugins.remedies import catalogue

    return any(catalogue()[name].family == "optimisation" for name in remedies)


def _write_all(plan: Plan, context: PatchContext, findings: Sequence[Finding], write: CandidateWriter) -> list[EditedCandidate]:
    """The candidates that one plan gives: one for each factor on the learning rate that is worth trying with it."""
    from unvanish.plugins.remedies import catalogue

    if plan.remedies == (RATE,):
        return [write(plan, context, factor) for factor in rate_factors(findings)]
    if plan.refusal:
        raise NotApplicable(plan.refusal)
    alters_loss = any(catalogue()[name].alters_loss for name in plan.remedies)
    larger = next((LARGER[finding.code] for finding in findings if finding.code in LARGER), None)
    factors = [None, larger] if larger and plan.steps and OWN_RATE.issuperset(plan.remedies) else [None]
    return [replace(write(plan, context, factor), alters_loss=alters_loss) for factor in factors]


def describe(edited: EditedCandidate, findings: Sequence[Finding], *, requested: bool) -> PlannedCandidate:
    """A candidate as a person reads it before the race: which finding asks for it, and how the source would be edited."""
    patch = write_patch(edited, Path.cwd())
    added = [line[1:] for line in patch.splitlines() if line.startswith("+") and not line.startswith("+++")]
    is_one_line = any("unvanish.apply(" in line for line in added)
    finding = "" if requested else finding_behind(edited.candidate.remedies, findings)
    return PlannedCandidate(edited.candidate, finding, ONE_LINE if is_one_line else IN_PLACE, len(added))


def finding_behind(remedies: Sequence[str], findings: Sequence[Finding]) -> str:
    """The code of the first finding that asks for the leading remedy; of the root where none does, "" where nothing was found.

    Example:
        >>> from unvanish.record.finding import Finding, Severity
        >>> findings = [
        ...     Finding("dead-units", Severity.WARNING, 0.9, "", "", remedies=("relu + he-init",)),
        ...     Finding("vanishing-gradient", Severity.WARNING, 0.9, "", "", remedies=("elu",)),
        ... ]
        >>> finding_behind(("elu",), findings)
        'vanishing-gradient'
    """
    for finding in findings:
        if any(remedies[0] == name.strip() for text in finding.remedies for name in text.split("+")):
            return finding.code
    return findings[0].code if findings else ""


def rate_factors(findings: Sequence[Finding]) -> tuple[float, ...]:
    """The factors on the learning rate that some findings ask to be tried."""
    return next((FACTORS[finding.code] for finding in findings if finding.code in FACTORS), BOTH_WAYS)
