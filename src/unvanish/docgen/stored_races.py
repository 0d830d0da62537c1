"""Loads the stored race verdicts of the built-in remedies and formats each as a sentence, without torch."""

from __future__ import annotations

from importlib.resources import files

from unvanish.record.races.stored_race import StoredRace, loads
from unvanish.record.races.verdict import Outcome
from unvanish.report.wording import numbers

REPRODUCE_COMMAND = "python -m benchmarks.remedies"
"""The command that races a remedy again, when the remedy's name is appended."""

_OUTCOME_LABELS = {
    Outcome.CURED: "Helps",
    Outcome.BETTER: "Helps",
    Outcome.SAME: "Makes no difference",
    Outcome.WORSE: "Harms",
    Outcome.FAILED: "Fails",
}


def load_stored_races(name: str) -> tuple[StoredRace, ...]:
    """The stored races of a built-in remedy; empty where none is stored.

    Raises RecordError where the file was written by another version.
    """
    file = files("unvanish").joinpath("remedies", "verdicts", f"{name}.json")
    return loads(file.read_text(encoding="utf-8")) if file.is_file() else ()


def format_outcome(race: StoredRace) -> str:
    """The outcome in a few words: "Helps", "Harms", "Makes no difference" or "Fails"."""
    return _OUTCOME_LABELS[race.outcome]


def describe_race(race: StoredRace) -> str:
    """The race in a sentence: training, deciding metric without and with the remedy, difference with interval, seeds and cost."""
    effect = race.effect
    size = "" if round(race.parameters, 2) == 1 else f", parameters {numbers.format_percent_change(race.parameters)}"
    values = f"{numbers.format_number(effect.control, 2)} → {numbers.format_number(effect.treated, 2)}"
    seeds, time = numbers.pluralise(race.seeds, "seed"), numbers.format_ratio(race.step_time)
    return (
        f"{race.network}; {race.data}: {effect.metric} {values}, {_format_difference(race)}, {seeds}; time per step {time}{size}."
    )


def _format_difference(race: StoredRace) -> str:
    """The mean difference and its interval, positive for an improvement where the sentence says better."""
    effect, (low, high) = race.effect.effect, race.effect.interval
    match race.outcome:
        case Outcome.BETTER | Outcome.CURED:
            return f"better by {_format_range(effect, low, high)}"
        case Outcome.WORSE | Outcome.FAILED:
            return f"worse by {_format_range(-effect, -high, -low)}"
        case Outcome.SAME:
            return f"no more than the seeds differ by: {numbers.format_signed(effect)} {numbers.format_interval(low, high)}"


def _format_range(mean: float, low: float, high: float) -> str:
    return f"{numbers.format_number(mean, 2)} [{numbers.format_number(low, 2)}, {numbers.format_number(high, 2)}]"
