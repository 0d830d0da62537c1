"""The stored verdicts of our own remedies, and each in a sentence. It needs no torch and runs nothing."""

from __future__ import annotations

from importlib.resources import files

from unvanish.record.stored_race import StoredRace, loads
from unvanish.record.verdict import Outcome
from unvanish.report.wording import numbers

AGAIN = "python -m benchmarks.remedies"
"""What races a remedy again, behind which its name stands."""

_LABELS = {
    Outcome.CURED: "Helps",
    Outcome.BETTER: "Helps",
    Outcome.SAME: "Makes no difference",
    Outcome.WORSE: "Harms",
    Outcome.FAILED: "Fails",
}


def stored(name: str) -> tuple[StoredRace, ...]:
    """What races proved about a remedy that comes with the package; nothing where none is stored.

    Raises RecordError where the file was written by another version.
    """
    file = files("unvanish").joinpath("remedies", "verdicts", f"{name}.json")
    return loads(file.read_text(encoding="utf-8")) if file.is_file() else ()


def label(raced: StoredRace) -> str:
    """What was proved, in a word or a few."""
    return _LABELS[raced.outcome]


def told(raced: StoredRace) -> str:
    """The race in a sentence: the training, the deciding metric of control and treated with its interval, seeds, and cost."""
    effect = raced.effect
    size = "" if round(raced.parameters, 2) == 1 else f", parameters {numbers.signed_percent(raced.parameters)}"
    values = f"{numbers.figure(effect.control, 2)} → {numbers.figure(effect.treated, 2)}"
    return (
        f"{raced.network}; {raced.data}: {effect.metric} {values}, "
        f"{_difference(raced)}, {numbers.plural(raced.seeds, 'seed')}; time per step {numbers.ratio(raced.step_time)}{size}."
    )


def _difference(raced: StoredRace) -> str:
    """The mean difference and its interval, whichever way the metric goes."""
    effect, (low, high) = raced.effect.effect, raced.effect.interval
    match raced.outcome:
        case Outcome.BETTER | Outcome.CURED:
            return f"better by {numbers.figure(effect, 2)} [{numbers.figure(low, 2)}, {numbers.figure(high, 2)}]"
        case Outcome.WORSE | Outcome.FAILED:
            return f"worse by {numbers.figure(-effect, 2)} [{numbers.figure(-high, 2)}, {numbers.figure(-low, 2)}]"
        case Outcome.SAME:
            return f"no more than the seeds differ by: {numbers.signed(effect)} {numbers.interval(low, high)}"
