"""Lists the facts of a run as (name, text) pairs: script, times, networks, machine, versions, and the cost of observation."""

from __future__ import annotations

from unvanish.record.run import Run
from unvanish.report.wording import numbers, rank_notes


def list_facts(run: Run) -> list[tuple[str, str]]:
    """(name, text) of every fact that the record holds, in the order of the page; facts without a value are left out."""
    facts = run.facts
    entries = [
        ("Script", " ".join((facts.script, *facts.arguments)).strip()),
        ("Started", facts.started.replace("T", " ")),
        ("Ended", facts.ending),
        ("Processes", rank_notes.describe_processes(run)),
        ("Steps", "" if run.checked else numbers.format_count(run.step_count)),
        ("Steps sampled", "" if run.checked else numbers.format_count(len(run.sampled))),
        ("Time taken", numbers.format_duration(facts.wall_s) if facts.wall_s > 0 else ""),
        (
            "Own overhead",
            f"{numbers.format_percent(run.overhead)} ({numbers.format_duration(facts.own_s)})" if _has_own_time(run) else "",
        ),
        ("Networks", ", ".join(f"{network.name} ({network.class_name})" for network in run.structure.networks)),
        ("Parameters", numbers.format_count(sum(parameter.size for parameter in run.structure.parameters))),
        ("Machine", facts.machine),
        ("Device", facts.device),
        ("Threads", str(facts.threads) if facts.threads else ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts.versions)),
        *(("Fault", fault) for fault in facts.faults),
    ]
    return [(name, value) for name, value in entries if value]


def _has_own_time(run: Run) -> bool:
    return run.facts.wall_s > 0 and not run.checked


def format_header(run: Run) -> list[str]:
    """Steps, day and cost of observation as the parts of the page's header line."""
    day = run.facts.started[:10]
    cost = f"own cost {numbers.format_percent(run.overhead)}" if run.facts.wall_s > 0 else ""
    parts = ("before any training", day) if run.checked else (numbers.pluralise(run.step_count, "step"), day, cost)
    return [part for part in parts if part]
