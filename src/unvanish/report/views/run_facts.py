"""The facts of a run, as (name, words) pairs: what ran, where, for how long, and what watching it cost. Nothing empty is listed."""

from __future__ import annotations

from unvanish.record.run import Run
from unvanish.report.wording import numbers


def facts(run: Run) -> list[tuple[str, str]]:
    """The facts that the record holds, in the order of the page."""
    known = run.facts
    listed = [
        ("Script", " ".join((known.script, *known.arguments)).strip()),
        ("Started", known.started.replace("T", " ")),
        ("Ended", known.ending),
        ("Steps", "" if run.checked else numbers.count(run.step_count)),
        ("Steps sampled", "" if run.checked else numbers.count(len(run.sampled))),
        ("Time taken", numbers.duration(known.wall_s) if known.wall_s > 0 else ""),
        ("Own overhead", f"{numbers.percent(run.overhead)} ({numbers.duration(known.own_s)})" if _timed(run) else ""),
        ("Networks", ", ".join(f"{network.name} ({network.class_name})" for network in run.anatomy.networks)),
        ("Parameters", numbers.count(sum(parameter.size for parameter in run.anatomy.parameters))),
        ("Machine", known.machine),
        ("Device", known.device),
        ("Threads", str(known.threads) if known.threads else ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in known.versions)),
        *(("Fault", fault) for fault in known.faults),
    ]
    return [(name, value) for name, value in listed if value]


def _timed(run: Run) -> bool:
    return run.facts.wall_s > 0 and not run.checked


def masthead(run: Run) -> list[str]:
    """The same in one line: steps, day, own cost."""
    day = run.facts.started[:10]
    cost = f"own cost {numbers.percent(run.overhead)}" if run.facts.wall_s > 0 else ""
    parts = ("before any training", day) if run.checked else (numbers.plural(run.step_count, "step"), day, cost)
    return [part for part in parts if part]
