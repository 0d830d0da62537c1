"""Builds the verdict card of a run, which terminal and page show: state, headline, explanation, advice, key numbers and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from unvanish.record.finding import Finding, Severity, Trend
from unvanish.record.metric_kinds import is_quoted_in_percent
from unvanish.record.network_changes import known_remedies
from unvanish.record.races.verdict import Effect, Verdict
from unvanish.record.run import CHECKED, Run
from unvanish.record.storage.file_names import PATCH_FILE
from unvanish.report.figures.run.loss import compute_first_and_last
from unvanish.report.views import race_table
from unvanish.report.views.gradient_by_depth import compute_gradient_by_depth
from unvanish.report.wording import finding_descriptions, numbers, rank_notes

MIN_STEPS = 20  # for a trend: the first ten are sampled one by one, and the loss needs as many again
ORDERLY_ENDINGS = frozenset({"running", "finished", "interrupted", "stopped", CHECKED})
MIN_SHOWN_DECADES = 0.5  # less is the ordinary difference between two layers


class State(StrEnum):
    """The state of a run, as shown on its card. `mark` accompanies the word, so that nothing depends on its colour."""

    SICK = "sick"
    UNWELL = "unwell"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"

    @property
    def mark(self) -> str:
        """A symbol that differs from the others in shape."""
        return {State.SICK: "●", State.UNWELL: "◐", State.HEALTHY: "✓", State.UNKNOWN: "○"}[self]


@dataclass(frozen=True, slots=True)
class MetricTile:
    """A key number as text, shown large, and the label under it."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class VerdictCard:
    """The verdict on a run.

    Arguments:
        state: sick, unwell, healthy or unknown.
        headline: the verdict in one sentence.
        explanation: what that means, in words without technical terms.
        advice: what to do; "" where nothing is needed.
        command: a shell command or a line of Python that does it; "" for none.
        confidence: that of the root finding, 0 to 1; None where nothing was found.
        tiles: at most four key numbers.
        notes: what limits the verdict.
    """

    state: State
    headline: str
    explanation: str
    advice: str
    command: str
    confidence: float | None
    tiles: tuple[MetricTile, ...]
    notes: tuple[str, ...]


def build_verdict_card(run: Run, findings: Sequence[Finding]) -> VerdictCard:
    """The verdict on the run, from its findings and its race, where there was one.

    Arguments:
        findings: the root cause first; may be empty.
    """
    root = findings[0] if findings and findings[0].severity.loud else None
    if root is None:
        return _build_card_without_findings(run)
    return VerdictCard(
        state=State.SICK if root.severity is Severity.CRITICAL else State.UNWELL,
        headline=root.summary,
        explanation=_explain(run, root),
        advice=_advice(run, root),
        command=_winner_command(run) or format_apply_call(_winner_remedy(run) or root.remedies),
        confidence=root.confidence,
        tiles=_build_finding_tiles(run, root),
        notes=list_notes(run),
    )


def _winner_command(run: Run) -> str:
    """The command that applies the winner's patch, or the winner's line of Python; "" where there is neither."""
    if run.race is None or run.race.winner is None:
        return ""
    return f"git apply {PATCH_FILE}" if run.race.patch else run.race.line or ""


def _winner_remedy(run: Run) -> tuple[str, ...]:
    """The winner of the race as a single name, "relu + he-init"; empty where nothing won."""
    return (" + ".join(run.race.winner.remedies),) if run.race is not None and run.race.winner else ()


def format_apply_call(remedies: Sequence[str]) -> str:
    """The line of Python that applies the first of the remedies that the catalogue has; "" where it has none.

    Example:
        >>> format_apply_call(["no-such-remedy", "relu + he-init"])
        'unvanish.apply(model, "relu", "he-init")'
    """
    known = known_remedies(remedies)
    if not known:
        return ""
    names = ", ".join(f'"{name.strip()}"' for name in known[0].split("+"))
    return f"unvanish.apply(model, {names})"


def format_onset(finding: Finding) -> str:
    """When a finding began and its trend: "step 40, getting worse"; "" where neither is known."""
    began = f"step {finding.began:,}" if finding.began is not None else ""
    trend = {Trend.WORSENING: "getting worse", Trend.STEADY: "as bad at the end", Trend.EASING: "easing"}.get(finding.trend, "")
    return ", ".join(part for part in (began, trend) if part)


def list_notes(run: Run) -> tuple[str, ...]:
    """What limits the verdict: a script that failed, a run that was cut short or is too short, failures of the observation."""
    notes: list[str] = []
    ending = run.facts.ending if not run.facts.ranks else "finished"  # each process has a note of its own
    if ending == "interrupted":
        notes.append(f"The run was interrupted at step {run.step_count:,}.")
    elif ending not in ORDERLY_ENDINGS:
        notes.append(f"The script ended with {ending} at step {run.step_count:,}.")
    if run.checked:
        return tuple(run.examination.flow.notes) if run.examination is not None else ()
    if 0 < run.step_count < MIN_STEPS:
        notes.append(f"Only {numbers.pluralise(run.step_count, 'step')} could be seen: too few for a trend to show.")
    weights = run.structure.count_weights()
    if weights.is_mostly_unknown and run.step_count:
        notes.append(
            f"{weights.unknown:,} of {weights.total:,} weights lie in layers of a kind that is not known here: nothing is "
            "concluded from these."
        )
    notes += [f"Watching was limited: {fault}" for fault in run.facts.faults]
    notes += rank_notes.list_differences(run)
    return tuple(notes)


def _build_card_without_findings(run: Run) -> VerdictCard:
    steps = numbers.pluralise(run.step_count, "step")
    if run.checked and run.examination is not None:
        flow = run.examination.flow
        change = f"{'loses' if flow.total < 0 else 'gains'} {numbers.format_decades(abs(flow.total), signed=False)} decades"
        reason = f"the gradient {change} on its way to the input."
        explanation = "Enough of the signal that corrects the layers reaches the first one."
        if math.isinf(flow.total):
            reason = "a weight that starts at zero stops the gradient for the first step alone."
            explanation = "The first step moves that weight, and from then on the signal passes."
        return VerdictCard(
            State.HEALTHY,
            f"Nothing speaks against training: {reason}",
            explanation,
            "",
            "",
            None,
            (MetricTile(numbers.format_decades(flow.total), "decades between the output and the input"),),
            list_notes(run),
        )
    if not run.step_count:
        state, headline, explanation = (
            State.UNKNOWN,
            "There was no training step to judge.",
            "Nothing was learned, so nothing can be said.",
        )
    elif run.step_count < MIN_STEPS:
        state, headline = State.UNKNOWN, f"Nothing is wrong so far, but {steps} are too few to judge."
        explanation = "Let it train longer for a verdict."
    else:
        state, headline = State.HEALTHY, f"No problem found in {steps}."
        explanation = "Nothing that was measured is out of order."
    return VerdictCard(state, headline, explanation, "", "", None, _build_tiles_without_findings(run), list_notes(run))


def _explain(run: Run, root: Finding) -> str:
    """What the finding means, how much of the gradient arrives, and the cause, without technical terms."""
    sentences = [finding_descriptions.describe_finding(root.code)]
    change = find_gradient_change(run, root)
    if root.code == "vanishing-gradient" and change < -MIN_SHOWN_DECADES:
        part = numbers.describe_fraction(change)
        sentences.append(f"{part[0].upper()}{part[1:]} of it arrives at the first layer.")
    if root.code == "exploding-gradient" and math.isfinite(change) and change > MIN_SHOWN_DECADES:
        sentences.append(f"It arrives at the first layer {numbers.describe_multiple(change)} as large.")
    if root.cause is not None and root.cause.code != root.code:
        sentences.append(f"The cause is {finding_descriptions.describe_cause(root.cause.code)}.")
    return " ".join(sentence for sentence in sentences if sentence)


def find_gradient_change(run: Run, root: Finding | None) -> float:
    """Decades by which the gradient changes, from the finding's evidence or else from the readings; NaN where neither has it."""
    if root is not None:
        for evidence in root.evidence:
            if evidence.quantity == "gain" and evidence.unit == "log10" and not math.isnan(evidence.value):
                return evidence.value
    gradient = compute_gradient_by_depth(run)
    return gradient.total_change() if gradient is not None else float("nan")


def _advice(run: Run, root: Finding) -> str:
    winner = race_table.find_winner(run.race)
    if winner is None or not winner.effects:
        race_sentence = f" {run.race.sentence}" if run.race is not None else ""
        return f"{root.advice}{race_sentence}".strip()
    result = f"{describe_outcome(winner.effects[0])}, {numbers.describe_speed(winner.cost.step_time)}"
    return f"Apply {winner.name}. Tried on this script, {numbers.spell_times(winner.seeds)}: {result}."


def describe_outcome(effect: Effect) -> str:
    """The deciding metric after the cure: "96 % right" for an accuracy, "loss 0.102 instead of 2.30" for the rest."""
    if is_share(effect):
        return f"{numbers.format_percent(effect.treated)} right"
    return f"{effect.metric} {numbers.format_number(effect.treated)} instead of {numbers.format_number(effect.control)}"


def is_share(effect: Effect) -> bool:
    """Whether the metric is a share of right answers, which is shown in per cent."""
    return is_quoted_in_percent(effect.metric) and effect.higher_is_better and 0 <= effect.control <= 1 and 0 <= effect.treated <= 1


def _build_finding_tiles(run: Run, root: Finding) -> tuple[MetricTile, ...]:
    winner = race_table.find_winner(run.race)
    tiles = _build_winner_tiles(winner) if winner is not None else [*_build_loss_tile(run)]
    change = find_gradient_change(run, root)
    if "gradient" in root.code and abs(change) >= MIN_SHOWN_DECADES:
        label = "decades of gradient lost on the way to the first layer" if change < 0 else "decades of gradient gained on the way"
        tiles.insert(1, MetricTile(numbers.format_decades(change) if math.isfinite(change) else "all", label))
    tiles.append(MetricTile(numbers.format_percent(root.confidence), "confidence in this verdict"))
    return tuple(tiles[:4])


def _build_winner_tiles(winner: Verdict) -> list[MetricTile]:
    tiles = [MetricTile(numbers.format_ratio(winner.cost.step_time), "time per step after the cure")]
    if winner.effects:
        first = winner.effects[0]
        format_value = numbers.format_percent if is_share(first) else numbers.format_number
        change = f"{format_value(first.control)} → {format_value(first.treated)}"
        tiles.insert(0, MetricTile(change, f"{first.metric}, before and after"))
    return tiles


def _build_tiles_without_findings(run: Run) -> tuple[MetricTile, ...]:
    logged = {metric.name: metric.value for metric in run.metrics if math.isfinite(metric.value)}
    shown = [MetricTile(numbers.format_number(value), f"{name}, as last logged") for name, value in list(logged.items())[:1]]
    if not run.step_count:
        return ()
    return (*_build_loss_tile(run), *shown, MetricTile(numbers.format_percent(run.overhead), "of the time taken by watching"))


def _build_loss_tile(run: Run) -> tuple[MetricTile, ...]:
    _, losses = run.objective()
    first, last = compute_first_and_last(losses)
    if run.checked:
        return (MetricTile(numbers.format_number(first), "loss, before any training"),) if not math.isnan(first) else ()
    if math.isnan(first):
        return ()
    end = numbers.format_number(last) if math.isfinite(last) else "not a number"
    return (MetricTile(f"{numbers.format_number(first)} → {end}", "loss, first and last"),)
