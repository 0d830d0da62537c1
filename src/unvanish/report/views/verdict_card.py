"""The verdict: what state the run is in, said in one sentence, what it means, what to do, and the few figures that matter.

Terminal and page say the same because both are made from this. It weighs nothing itself: the findings and the race did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from unvanish.record.change import known_remedies
from unvanish.record.finding import Finding, Severity, Trend
from unvanish.record.run import CHECKED, Run
from unvanish.record.verdict import Effect, Verdict
from unvanish.report.figures.run.loss import ends
from unvanish.report.views import race_table
from unvanish.report.views.gradient_by_depth import gradient
from unvanish.report.wording import numbers, plain_words

FEW_STEPS = 20  # too few to see a trend: the first ten are sampled one by one, and a loss needs as many again to show a course
WELL_ENDED = frozenset({"running", "finished", "interrupted", "stopped", CHECKED})
PERCENT_METRICS = ("acc", "accuracy", "precision", "recall", "f1")
WORTH_A_FIGURE = 0.5  # decades; less is the ordinary difference between two layers


class State(StrEnum):
    """The word on the card. `mark` goes with it, so that nothing hangs on its colour."""

    SICK = "sick"
    UNWELL = "unwell"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"

    @property
    def mark(self) -> str:
        """A sign that differs in shape from the others."""
        return {State.SICK: "●", State.UNWELL: "◐", State.HEALTHY: "✓", State.UNKNOWN: "○"}[self]


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure and the words under it."""

    figure: str
    words: str


@dataclass(frozen=True, slots=True)
class Card:
    """The verdict on a run. `confidence` is None where nothing was found; `notes` say what else a reader must know."""

    state: State
    sentence: str
    plain: str
    advice: str
    call: str
    confidence: float | None
    tiles: tuple[Tile, ...]
    notes: tuple[str, ...]


def card(run: Run, findings: Sequence[Finding]) -> Card:
    """The verdict on the run, from its findings (the root first) and its race, where there was one."""
    root = findings[0] if findings and findings[0].severity.loud else None
    if root is None:
        return _quiet(run)
    return Card(
        state=State.SICK if root.severity is Severity.CRITICAL else State.UNWELL,
        sentence=root.summary,
        plain=_plain(run, root),
        advice=_advice(run, root),
        call=_command(run) or call(_proved(run) or root.remedies),
        confidence=root.confidence,
        tiles=_sick_tiles(run, root),
        notes=notes(run),
    )


def _command(run: Run) -> str:
    """What takes over the winner of a race on a script or a function: its patch, or its line; nothing where there is neither."""
    if run.race is None or run.race.winner is None:
        return ""
    return "git apply unvanish.patch" if run.race.patch else run.race.line or ""


def _proved(run: Run) -> tuple[str, ...]:
    """The winner of the race as people write it, alone; nothing where nothing won."""
    return (" + ".join(run.race.winner),) if run.race is not None and run.race.winner else ()


def call(remedies: Sequence[str]) -> str:
    """The line of Python that applies the first remedy that is on the shelf, or nothing where there is none."""
    known = known_remedies(remedies)
    if not known:
        return ""
    names = ", ".join(f'"{name.strip()}"' for name in known[0].split("+"))
    return f"unvanish.apply(model, {names})"


def since(finding: Finding) -> str:
    """When a finding began and where it is going, in words: "step 40, getting worse"; nothing where neither is known."""
    began = f"step {finding.began:,}" if finding.began is not None else ""
    going = {Trend.WORSENING: "getting worse", Trend.STEADY: "as bad at the end", Trend.EASING: "easing"}.get(finding.trend, "")
    return ", ".join(part for part in (began, going) if part)


def notes(run: Run) -> tuple[str, ...]:
    """What limits the verdict: a script that failed, a run that was cut short or is too short, faults of our own."""
    said: list[str] = []
    ending = run.facts.ending
    if ending == "interrupted":
        said.append(f"The run was interrupted at step {run.step_count:,}.")
    elif ending not in WELL_ENDED:
        said.append(f"The script ended with {ending} at step {run.step_count:,}.")
    if run.checked:
        return tuple(run.examination.flow.notes) if run.examination is not None else ()
    if 0 < run.step_count < FEW_STEPS:
        said.append(f"Only {numbers.plural(run.step_count, 'step')} could be seen: too few for a trend to show.")
    said += [f"Watching was limited: {fault}" for fault in run.facts.faults]
    return tuple(said)


def _quiet(run: Run) -> Card:
    steps = numbers.plural(run.step_count, "step")
    if run.checked and run.examination is not None:
        flow = run.examination.flow
        change = f"{'loses' if flow.total < 0 else 'gains'} {numbers.decades(abs(flow.total), signed=False)} decades"
        told = f"the gradient {change} on its way to the input."
        meaning = "Enough of the signal that corrects the layers reaches the first one."
        if math.isinf(flow.total):
            told = "a weight that starts at zero stops the gradient for the first step alone."
            meaning = "The first step moves that weight, and from then on the signal passes."
        return Card(
            State.HEALTHY,
            f"Nothing speaks against training: {told}",
            meaning,
            "",
            "",
            None,
            (Tile(numbers.decades(flow.total), "decades between the output and the input"),),
            notes(run),
        )
    if not run.step_count:
        state, sentence, meaning = (
            State.UNKNOWN,
            "There was no training step to judge.",
            "Nothing was learned, so nothing can be said.",
        )
    elif run.step_count < FEW_STEPS:
        state, sentence = State.UNKNOWN, f"Nothing is wrong so far, but {steps} are too few to judge."
        meaning = "Let it train longer for a verdict."
    else:
        state, sentence = State.HEALTHY, f"No problem found in {steps}."
        meaning = "Nothing that was measured is out of order."
    return Card(state, sentence, meaning, "", "", None, _quiet_tiles(run), notes(run))


def _plain(run: Run, root: Finding) -> str:
    said = [plain_words.meaning(root.code)]
    change = lost(run, root)
    if root.code == "vanishing-gradient" and change < -WORTH_A_FIGURE:
        part = numbers.fraction_in_words(change)
        said.append(f"{part[0].upper()}{part[1:]} of it arrives at the first layer.")
    if root.code == "exploding-gradient" and math.isfinite(change) and change > WORTH_A_FIGURE:
        said.append(f"It arrives at the first layer {numbers.multiple_in_words(change)} as large.")
    if root.cause is not None and root.cause.code != root.code:
        said.append(f"The cause is {plain_words.cause(root.cause.code)}.")
    return " ".join(sentence for sentence in said if sentence)


def lost(run: Run, root: Finding | None) -> float:
    """Decades that the gradient changes by: as the finding has it in evidence, or as the picture shows; NaN where neither does."""
    if root is not None:
        for evidence in root.evidence:
            if evidence.quantity == "gain" and evidence.unit == "log10" and not math.isnan(evidence.value):
                return evidence.value
    found = gradient(run)
    return found.change() if found is not None else float("nan")


def _advice(run: Run, root: Finding) -> str:
    won = race_table.winner(run.race)
    if won is None or not won.effects:
        tried = f" {run.race.sentence}" if run.race is not None else ""
        return f"{root.advice}{tried}".strip()
    proof = f"{outcome_in_words(won.effects[0])}, {numbers.speed_in_words(won.cost.step_time)}"
    return f"Apply {won.name}. Tried on this script, {numbers.times(won.seeds)}: {proof}."


def outcome_in_words(effect: Effect) -> str:
    """What the deciding metric came to: "96 % right" for an accuracy, "loss 0.102 instead of 2.30" for the rest."""
    if is_share(effect):
        return f"{numbers.percent(effect.treated)} right"
    return f"{effect.metric} {numbers.figure(effect.treated)} instead of {numbers.figure(effect.control)}"


def is_share(effect: Effect) -> bool:
    """Whether the metric is a share of right answers, which is said in per cent."""
    named = any(part in effect.metric.lower() for part in PERCENT_METRICS)
    return named and effect.higher_is_better and 0 <= effect.control <= 1 and 0 <= effect.treated <= 1


def _sick_tiles(run: Run, root: Finding) -> tuple[Tile, ...]:
    won = race_table.winner(run.race)
    tiles = _winner_tiles(won) if won is not None else [*_loss_tile(run)]
    change = lost(run, root)
    if "gradient" in root.code and abs(change) >= WORTH_A_FIGURE:
        words = "decades of gradient lost on the way to the first layer" if change < 0 else "decades of gradient gained on the way"
        tiles.insert(1, Tile(numbers.decades(change) if math.isfinite(change) else "all", words))
    tiles.append(Tile(numbers.percent(root.confidence), "confidence in this verdict"))
    return tuple(tiles[:4])


def _winner_tiles(won: Verdict) -> list[Tile]:
    tiles = [Tile(numbers.ratio(won.cost.step_time), "time per step after the cure")]
    if won.effects:
        first = won.effects[0]
        say = numbers.percent if is_share(first) else numbers.figure
        tiles.insert(0, Tile(f"{say(first.control)} → {say(first.treated)}", f"{first.metric}, before and after"))
    return tiles


def _quiet_tiles(run: Run) -> tuple[Tile, ...]:
    logged = {metric.name: metric.value for metric in run.metrics if math.isfinite(metric.value)}
    shown = [Tile(numbers.figure(value), f"{name}, as last logged") for name, value in list(logged.items())[:1]]
    return (
        (*_loss_tile(run), *shown, Tile(numbers.percent(run.overhead), "of the time taken by watching")) if run.step_count else ()
    )


def _loss_tile(run: Run) -> tuple[Tile, ...]:
    _, losses = run.objective()
    first, last = ends(losses)
    if run.checked:
        return (Tile(numbers.figure(first), "loss, before any training"),) if not math.isnan(first) else ()
    if math.isnan(first):
        return ()
    end = numbers.figure(last) if math.isfinite(last) else "not a number"
    return (Tile(f"{numbers.figure(first)} → {end}", "loss, first and last"),)
