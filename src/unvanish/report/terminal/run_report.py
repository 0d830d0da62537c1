"""Renders the report of a run for the terminal, for 80 to 120 columns: verdict, cause, place, next step, race and report path.

The caller's console decides on colour, so plain text and NO_COLOR are respected.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.finding import Finding, Trend
from unvanish.record.network_changes import known_remedies
from unvanish.record.run import Run
from unvanish.report.terminal.flow import render_flow
from unvanish.report.terminal.prescription import render_prescription
from unvanish.report.terminal.race import render_race
from unvanish.report.views.gradient_by_depth import GradientByDepth, compute_gradient_by_depth
from unvanish.report.views.row_selection import reduce_over_steps, sample_evenly
from unvanish.report.views.verdict_card import State, VerdictCard, build_verdict_card, format_apply_call, format_onset
from unvanish.report.wording import locations, numbers, rank_notes

STYLES = {State.SICK: "bold red", State.UNWELL: "bold yellow", State.HEALTHY: "bold green", State.UNKNOWN: "bold"}
MAX_BARS = 8
BAR_CELLS = 24
MIN_PROFILE_DECADES = 1.0  # between the smallest and the largest gradient; a flatter profile is not drawn
MAX_OTHER_FINDINGS = 3  # further findings that are named; the page has all
MAX_WIDTH = 120  # lines beyond this are hard to read
# Findings without "gradient" in their code that the gradient's profile over the layers explains too.
CODES_WITH_PROFILE = frozenset(
    {"saturated-activation", "dead-units", "off-critical-init", "learning-rate-too-high", "loss-not-decreasing"}
)


def render(
    run: Run,
    findings: Sequence[Finding],
    *,
    script: str,
    report_path: Path | str | None = None,
    patch_path: Path | str | None = None,
) -> RenderableType:
    """The whole report for a terminal. A healthy run is one line, and the report's path.

    Arguments:
        findings: the root cause first; may be empty.
        script: the script's path as the user wrote it, by which source lines are named.
        report_path: where the HTML page is; None where there is none.
        patch_path: where the winner's patch is, as shown to the user; by default its file name.
    """
    verdict = build_verdict_card(run, findings)
    parts: list[RenderableType] = [_render_headline(verdict, run)]
    if processes := rank_notes.describe_processes(run):
        parts.append(Padding(Text(processes, style="dim"), (0, 0, 0, 2)))
    if verdict.confidence is not None:
        parts += ["", Padding(_render_finding(findings, verdict, script), (0, 0, 0, 2))]
        parts += _render_flow_of_check(run)
        bars = _render_gradient_bars(run) if not run.checked and _has_gradient_profile(findings[0].code) else None
        if bars is not None:
            parts += ["", Padding(bars, (0, 0, 0, 4))]
        if run.race is None or not run.race.winner:
            parts += ["", Padding(_render_next_step(findings[0], run), (0, 0, 0, 2))]
    if verdict.confidence is None:
        parts += _render_flow_of_check(run)
    examination = run.examination
    if examination is not None and examination.prescription is not None:
        parts += ["", render_prescription(examination.prescription)]
    parts += [Padding(Text(note, style="yellow"), (0, 0, 0, 2)) for note in verdict.notes]
    if run.race is not None:
        parts += ["", render_race(run.race, patch_path)]
    if report_path is not None:
        parts += ["", _render_footer(report_path, findings[0].code if verdict.confidence is not None else "")]
    return Group(*parts)


def _render_flow_of_check(run: Run) -> list[RenderableType]:
    """The traced flow, where the run is a check of a network; for a training only the page has it."""
    examination = run.examination
    return ["", render_flow(examination.flow, examination.prediction)] if examination is not None and run.checked else []


def render_live_line(step: int, loss: float, *, health: str = "", own_share: float, width: int) -> Text:
    """Step, loss, state and cost of observation of a running training on one line.

    Arguments:
        loss: of the latest step; NaN is shown as "not a number".
        health: what is wrong, in a few words; "" while nothing is.
        own_share: share of the run's time that observation took, 0 to 1; left out where there is no room.
        width: cells that the line may have.
    """
    state = Text(f"● {health}", style="red") if health else Text("✓ nothing wrong so far", style="green")
    cost = Text(f"  own cost {numbers.format_percent(own_share)}", style="dim")
    line = Text.assemble(("unvanish", "bold"), f"  step {step:,}", f"  loss {numbers.format_number(loss, 4)}  ", state)
    room = width - cell_len(line.plain)
    if room >= cell_len(cost.plain):
        line.append_text(cost)
    line.truncate(width, overflow="ellipsis")
    return line


def _render_headline(verdict: VerdictCard, run: Run) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    state = Text(f"{verdict.state.mark} {verdict.state.name}", style=STYLES[verdict.state])
    if verdict.confidence is not None:
        note = f"confidence {numbers.format_percent(verdict.confidence)}"
    else:
        note = f"own cost {numbers.format_percent(run.overhead)}" if run.step_count and not run.checked else ""
    headline = verdict.headline
    if verdict.confidence is None and verdict.tiles and "→" in verdict.tiles[0].value:
        headline = f"{headline} Loss {verdict.tiles[0].value}."
    style = "bold" if verdict.confidence is not None else STYLES[verdict.state]
    grid.add_row(state, Text(headline, style=style), Text(note, style="dim"))
    return grid


def _render_finding(findings: Sequence[Finding], verdict: VerdictCard, script: str) -> Table:
    root = findings[0]
    grid = _build_section_grid()
    grid.add_row("Why", Text(root.why or verdict.explanation))
    if root.sites or root.location:
        place = Text(locations.format_sites(root.sites))
        if root.location is not None:
            place.append("\n" if root.sites else "")
            place.append(f"{locations.format_source_line(root.location, script)}  {root.location.text}".rstrip(), style="cyan")
        grid.add_row("Where", place)
    if root.trend is not Trend.UNKNOWN or (root.began or 1) > 1:
        grid.add_row("Since", Text(format_onset(root)))
    for number, line in enumerate(_list_other_findings(findings)):
        grid.add_row("" if number else "Also", Text(line))
    return grid


def _list_other_findings(findings: Sequence[Finding]) -> list[str]:
    symptoms = ", ".join(findings[0].symptoms)
    lines = [f"{symptoms} ({'follows' if len(findings[0].symptoms) == 1 else 'follow'} from the above)"] if symptoms else []
    others = [finding for finding in findings[1:] if finding.severity.loud]
    lines += [f"{finding.code}: {finding.summary}" for finding in others[:MAX_OTHER_FINDINGS]]
    if len(others) > MAX_OTHER_FINDINGS:
        lines.append(f"and {numbers.spell_count(len(others) - MAX_OTHER_FINDINGS)} more, in the report")
    return lines


def _render_next_step(root: Finding, run: Run) -> Table:
    grid = _build_section_grid()
    known = known_remedies(root.remedies)
    lines = [(root.advice, ""), *_list_commands(known, run)]
    for number, (line, style) in enumerate(
        [(line, style) for line, style in lines if line] or [("See the report for the evidence.", "")]
    ):
        grid.add_row("" if number else "Next", Text(line, style=style))
    return grid


def _list_commands(known: Sequence[str], run: Run) -> list[tuple[str, str]]:
    """(text, style) of the lines that say how to use the remedies: race them on the script, or apply one in Python."""
    if not known:
        return []
    is_script = run.facts.script.endswith(".py") or bool(run.facts.ranks)  # a launcher, or a module that starts processes
    if is_script and run.step_count and not run.checked and run.race is None:
        command = shlex.join(["unvanish", "fix", *_script_words(run.facts.script), *run.facts.arguments])
        return [(command, "cyan"), (f"tries {', '.join(known)}", "")]
    return [(format_apply_call(known), "cyan"), (f"or {', '.join(known[1:])}" if known[1:] else "", "")]


def _script_words(script: str) -> list[str]:
    """A script as words of a command line: "-m module" is two of them, and a program on PATH is known by its name."""
    if script.startswith("-m "):
        return script.split(" ", maxsplit=1)
    return [script if script.endswith(".py") else Path(script).name]


def _build_section_grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=5, no_wrap=True)
    grid.add_column(max_width=MAX_WIDTH - 10)
    return grid


def _has_gradient_profile(code: str) -> bool:
    """Whether the gradient's profile over the layers explains a finding with this code."""
    return "gradient" in code or code in CODES_WITH_PROFILE


def _render_gradient_bars(run: Run) -> Table | None:
    gradient = compute_gradient_by_depth(run)
    if gradient is None or gradient.nonfinite.any():
        return None
    profile = gradient.median_profile()
    finite = profile[np.isfinite(profile)]
    if not (finite.size and np.ptp(finite) >= MIN_PROFILE_DECADES) and not (profile == -math.inf).any():
        return None
    return _build_bar_table(gradient)


def _build_bar_table(gradient: GradientByDepth) -> Table:
    sizes = reduce_over_steps(gradient.log10_rms)
    rows = sample_evenly([row for row in reversed(range(len(sizes))) if not np.isnan(sizes[row])], MAX_BARS)
    finite = sizes[rows][np.isfinite(sizes[rows])]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, max_width=28, overflow="ellipsis")
    grid.add_column(no_wrap=True, style="blue")
    grid.add_column(no_wrap=True)
    for position, row in enumerate(rows):
        end = "loss" if position == 0 else "input" if position == len(rows) - 1 else ""
        size = float(sizes[row])
        # The smallest gradient keeps a short bar, so that the length shows order, and the number beside it shows the size.
        cells = 0 if math.isinf(size) else round(BAR_CELLS * (size - low + 1) / (high - low + 1))
        label = Text(f"▏{locations.shorten_label(gradient.rows.labels[row], 24)}")
        grid.add_row(end, label, "▇" * cells, numbers.format_power_of_ten(size))
    return grid


def _render_footer(report_path: Path | str, code: str) -> Text:
    line = Text.assemble(("report  ", "dim"), str(report_path))
    return line.append(f"\n{code}: unvanish explain {code}", style="dim") if code else line
