"""The report in the terminal: the verdict, why, where, what to do. It prints nothing itself: it hands back what rich can print.

Made for 80 columns, glad of 120. The console of the caller decides on colour, so plain text and NO_COLOR are respected.
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

from unvanish.record.change import known_remedies
from unvanish.record.finding import Finding, Trend
from unvanish.record.run import Run
from unvanish.report.terminal.flow import render_flow
from unvanish.report.terminal.race import render_race
from unvanish.report.views.gradient_by_depth import Gradient, gradient
from unvanish.report.views.prescription import render_prescription
from unvanish.report.views.shown_rows import evenly, over_steps
from unvanish.report.views.verdict_card import Card, State, call, card, since
from unvanish.report.wording import numbers, places

STYLES = {State.SICK: "bold red", State.UNWELL: "bold yellow", State.HEALTHY: "bold green", State.UNKNOWN: "bold"}
BARS = 8
BAR_CELLS = 24
WORTH_BARS = 1.0  # decades between the ends of the network; a flatter profile is no picture
OTHERS = 3  # further findings that are named; the page has all
WIDEST = 120  # lines beyond this are hard to read

PICTURED = frozenset({"saturated-activation", "dead-units", "off-critical-init", "learning-rate-too-high", "loss-not-decreasing"})


def render(
    run: Run,
    findings: Sequence[Finding],
    *,
    script: str,
    report_path: Path | str | None = None,
    patch_path: Path | str | None = None,
) -> RenderableType:
    """The whole report for a terminal, as a rich Group. A healthy run is one line, and the report's path."""
    verdict = card(run, findings)
    parts: list[RenderableType] = [_headline(verdict, run)]
    if verdict.confidence is not None:
        parts += ["", Padding(_body(findings, verdict, script), (0, 0, 0, 2))]
        parts += _flow(run)
        bars = _bars(run) if not run.checked and _about_gradients(findings[0].code) else None
        if bars is not None:
            parts += ["", Padding(bars, (0, 0, 0, 4))]
        if run.race is None or not run.race.winner:
            parts += ["", Padding(_next(findings[0], run), (0, 0, 0, 2))]
    if verdict.confidence is None:
        parts += _flow(run)
    seen = run.examination
    if seen is not None and seen.prescription is not None:
        parts += ["", render_prescription(seen.prescription)]
    parts += [Padding(Text(note, style="yellow"), (0, 0, 0, 2)) for note in verdict.notes]
    if run.race is not None:
        parts += ["", render_race(run.race, patch_path)]
    if report_path is not None:
        parts += ["", _footer(report_path, findings[0].code if verdict.confidence is not None else "")]
    return Group(*parts)


def _flow(run: Run) -> list[RenderableType]:
    """The exact look in full, where it is what was asked for; of a training the page has it."""
    seen = run.examination
    return ["", render_flow(seen.flow, seen.prediction)] if seen is not None and run.checked else []


def live_line(step: int, loss: float, *, health: str = "", own_share: float, width: int) -> Text:
    """One line that says where the run stands, at most `width` cells wide. `health` is empty while nothing is wrong."""
    state = Text(f"● {health}", style="red") if health else Text("✓ nothing wrong so far", style="green")
    cost = Text(f"  own cost {numbers.percent(own_share)}", style="dim")
    line = Text.assemble(("unvanish", "bold"), f"  step {step:,}", f"  loss {numbers.figure(loss, 4)}  ", state)
    room = width - cell_len(line.plain)
    if room >= cell_len(cost.plain):
        line.append_text(cost)
    line.truncate(width, overflow="ellipsis")
    return line


def _headline(verdict: Card, run: Run) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    state = Text(f"{verdict.state.mark} {verdict.state.name}", style=STYLES[verdict.state])
    if verdict.confidence is not None:
        aside = f"confidence {numbers.percent(verdict.confidence)}"
    else:
        aside = f"own cost {numbers.percent(run.overhead)}" if run.step_count and not run.checked else ""
    sentence = verdict.sentence
    if verdict.confidence is None and verdict.tiles and "→" in verdict.tiles[0].figure:
        sentence = f"{sentence} Loss {verdict.tiles[0].figure}."
    style = "bold" if verdict.confidence is not None else STYLES[verdict.state]
    grid.add_row(state, Text(sentence, style=style), Text(aside, style="dim"))
    return grid


def _body(findings: Sequence[Finding], verdict: Card, script: str) -> Table:
    root = findings[0]
    grid = _sections()
    grid.add_row("Why", Text(root.why or verdict.plain))
    if root.sites or root.location:
        where = Text(places.span(root.sites))
        if root.location is not None:
            where.append("\n" if root.sites else "")
            where.append(f"{places.line_of(root.location, script)}  {root.location.text}".rstrip(), style="cyan")
        grid.add_row("Where", where)
    if root.trend is not Trend.UNKNOWN or (root.began or 1) > 1:
        grid.add_row("Since", Text(since(root)))
    for number, line in enumerate(_also(findings)):
        grid.add_row("" if number else "Also", Text(line))
    return grid


def _also(findings: Sequence[Finding]) -> list[str]:
    symptoms = ", ".join(findings[0].symptoms)
    lines = [f"{symptoms} ({'follows' if len(findings[0].symptoms) == 1 else 'follow'} from the above)"] if symptoms else []
    loud = [finding for finding in findings[1:] if finding.severity.loud]
    lines += [f"{finding.code}: {finding.summary}" for finding in loud[:OTHERS]]
    if len(loud) > OTHERS:
        lines.append(f"and {numbers.word(len(loud) - OTHERS)} more, in the report")
    return lines


def _next(root: Finding, run: Run) -> Table:
    grid = _sections()
    known = known_remedies(root.remedies)
    lines = [(root.advice, ""), *_commands(known, run)]
    for number, (line, style) in enumerate([each for each in lines if each[0]] or [("See the report for the evidence.", "")]):
        grid.add_row("" if number else "Next", Text(line, style=style))
    return grid


def _commands(known: Sequence[str], run: Run) -> list[tuple[str, str]]:
    """What to do with the remedies, each with its style: race them on the script that ran, or a line for the network in hand."""
    if not known:
        return []
    if run.facts.script.endswith(".py") and run.step_count and not run.checked and run.race is None:
        command = shlex.join(["unvanish", "fix", run.facts.script, *run.facts.arguments])
        return [(command, "cyan"), (f"tries {', '.join(known)}", "")]
    return [(call(known), "cyan"), (f"or {', '.join(known[1:])}" if known[1:] else "", "")]


def _sections() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=5, no_wrap=True)
    grid.add_column(max_width=WIDEST - 10)
    return grid


def _about_gradients(code: str) -> bool:
    """Whether the gradient's way through the layers is a picture of this finding, and not of something else."""
    return "gradient" in code or code in PICTURED


def _bars(run: Run) -> Table | None:
    found = gradient(run)
    if found is None or found.broken.any():
        return None
    profile = found.profile()
    known = profile[np.isfinite(profile)]
    if not (known.size and np.ptp(known) >= WORTH_BARS) and not (profile == -math.inf).any():
        return None
    return _bar_table(found)


def _bar_table(found: Gradient) -> Table:
    sizes = over_steps(found.log10_rms)
    rows = evenly([row for row in reversed(range(len(sizes))) if not np.isnan(sizes[row])], BARS)
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
        # The faintest site keeps a short bar, so that the length says order, and the figure beside it says how much.
        cells = 0 if math.isinf(size) else round(BAR_CELLS * (size - low + 1) / (high - low + 1))
        grid.add_row(end, Text(f"▏{places.shortened(found.rows.labels[row], 24)}"), "▇" * cells, numbers.power(size))
    return grid


def _footer(report_path: Path | str, code: str) -> Text:
    line = Text.assemble(("report  ", "dim"), str(report_path))
    return line.append(f"\n{code}: unvanish explain {code}", style="dim") if code else line
