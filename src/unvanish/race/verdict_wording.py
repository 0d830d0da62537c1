"""What a race proved, in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

from unvanish.record.races.verdict import Effect, Outcome, TrialResult, Verdict
from unvanish.trials.checkpoint import CheckpointProof


def reason(
    outcome: Outcome, effects: Sequence[Effect], *, failure: str, remaining: Sequence[str], rung: int | None, alone: bool
) -> str:
    """Why a candidate has its outcome, in one sentence.

    `remaining` are the control's findings that the treated script still has; `rung` is the one at which it was stopped, if it was;
    `alone` says that it ran with one seed only.
    """
    if failure:
        return f"A trial failed: {failure}."
    effect = effects[0]
    change = f"{effect.metric} went from {effect.control:.4g} to {effect.treated:.4g}"
    if rung is not None:
        return f"It was stopped at rung {rung}, where others did better: {effect.metric} {effect.treated:.4g} by then."
    if alone:
        return f"{change} with the first seed; others did better, and it was not run with more."
    match outcome:
        case Outcome.CURED:
            return f"{change}, and the findings of the untouched script are gone."
        case Outcome.BETTER:
            return f"{change}" + (f", but {', '.join(remaining)} is still found." if remaining else ".")
        case Outcome.WORSE:
            return f"{change}, by more than the seeds differ by."
        case _:
            return f"{change}: no more than the seeds differ by."


def checkpoint_failure(proof: CheckpointProof | None) -> str:
    """Why a checkpoint undoes a cure; "" where it does not, or none was tested."""
    return f"the cure does not survive a checkpoint: {proof.why}" if proof is not None and proof.holds is False else ""


def checkpoint_remark(proof: CheckpointProof | None) -> str:
    """A sentence, with a space before it, for a cure that was saved and loaded; "" for any other."""
    if proof is None or not proof.holds:
        return ""
    return " Its weights, saved and loaded into a freshly built network, give the same outputs."


def checkpoint_note(proof: CheckpointProof) -> str:
    """What a person should know of a winner's checkpoint that could not be judged."""
    return f"Whether the cure survives a checkpoint could not be tested: {proof.why}."


def sentence(control: Sequence[TrialResult], verdicts: Sequence[Verdict], winner: Verdict | None, *, stopped: bool) -> str:
    """The race in one sentence; with another before it where it was stopped early."""
    if stopped and winner is None and verdicts:
        return "Not enough budget to tell: the race was stopped before anything was proved."
    result = _proved(control, verdicts, winner)
    return f"The race was stopped before its end. {result}" if stopped else result


def _proved(control: Sequence[TrialResult], verdicts: Sequence[Verdict], winner: Verdict | None) -> str:
    if not control or not verdicts:
        return "Nothing was compared."
    if winner is not None:
        return _name_winner(winner, verdicts, sick=_is_sick(control))
    failure = next((t.failure for t in control if t.failure is not None), None)
    if failure is not None:
        return f"The script itself failed, and no candidate was proved to mend that: {failure}."
    if all(v.outcome is Outcome.FAILED for v in verdicts):
        return f"No candidate could be tried to its end. {verdicts[0].reason}"
    if max(v.seeds for v in verdicts) < 2:
        return "Not enough budget to tell: one seed proves nothing; race with at least two."
    if not _is_sick(control):
        return "The control is fine: nothing was found in the script as it is, and no candidate does better."
    return f"Nothing helped: {_none_does(len(verdicts))} better than the script as it is, beyond what the seeds differ by."


def _name_winner(winner: Verdict, verdicts: Sequence[Verdict], *, sick: bool) -> str:
    rivals = [v for v in verdicts if v.outcome is winner.outcome]
    kind = "cure" if winner.outcome is Outcome.CURED else "improvement"
    if len(rivals) == 1:
        text = f"One {kind} was found: {winner.name}."
    elif winner is rivals[0]:
        text = f"The best {kind}, and nothing cheaper is as good: {winner.name}."
    else:
        text = f"The cheapest {kind} that is as good as the best: {winner.name}."
    if winner.outcome is Outcome.CURED:
        return text
    return f"{text} The finding stays." if sick else f"{text} The script was not sick."


def _is_sick(control: Sequence[TrialResult]) -> bool:
    return any(t.findings or t.failure is not None for t in control)


def _none_does(count: int) -> str:
    return "the one candidate does not do" if count == 1 else f"none of the {count} candidates does"
