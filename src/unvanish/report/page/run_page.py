"""One self-contained page: everything in the file, nothing loaded, the same bytes for the same run. It reads no clock."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache, partial
from importlib import resources
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from unvanish.errors import UsageError
from unvanish.record.finding import Finding, Severity
from unvanish.record.run import Run
from unvanish.report.figures.gallery import gallery
from unvanish.report.views import prescription as prescription_rows
from unvanish.report.views import race_lines
from unvanish.report.views.run_facts import facts, masthead
from unvanish.report.views.verdict_card import State, call, card, since
from unvanish.report.wording import numbers, places
from unvanish.report.wording.underline import Underliner

STATES = {Severity.CRITICAL: State.SICK, Severity.WARNING: State.UNWELL, Severity.INFO: State.UNKNOWN}


def write(path: Path | str, run: Run, findings: Sequence[Finding]) -> Path:
    """The page's path, once it is complete on the disk: readers see the old page or the new one, never a half.

    Raises UsageError where the folder cannot be written.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(html(run, findings), encoding="utf-8")
        draft.replace(target)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise UsageError(
            f"the report cannot be written to {target} ({fault.strerror}); choose another folder with --out"
        ) from fault
    return target


def html(run: Run, findings: Sequence[Finding]) -> str:
    """The page as text, about 5 MB (nearly all of it plotly, once). `findings` has the root first."""
    pictures = gallery(run, findings)
    race = run.race
    prescription = run.examination.prescription if run.examination is not None else None
    return _template().render(
        run=run,
        card=card(run, findings),
        masthead=masthead(run),
        gallery=pictures,
        findings=findings,
        findings_title=_findings_title(findings),
        race=race_lines.lines(race) if race is not None else None,
        prescribed=prescription_rows if prescription is not None else None,
        prescription=prescription,
        facts=facts(run),
        say=Underliner(),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        plotly=Markup(get_plotlyjs()) if pictures.every() else "",
        line_of=partial(places.line_of, script=run.facts.script),
    )


def drawing(figure: go.Figure) -> Markup:
    """The figure as JSON that can stand inside a script element: it holds no character that could end the element."""
    return Markup(str(figure.to_json(engine="json")).replace("<", "\\u003c"))


def _findings_title(findings: Sequence[Finding]) -> str:
    loud = sum(finding.severity.loud for finding in findings)
    if not loud:
        return "Noted by the way"
    return f"{numbers.word(loud).capitalize()} finding{'' if loud == 1 else 's'} and the evidence"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {
        "typeset": numbers.typeset,
        "percent": numbers.percent,
        "figure": numbers.figure,
        "span": places.span,
        "call": call,
        "since": since,
        "state": STATES.__getitem__,
        "drawing": drawing,
    }
    return environment.from_string(_asset("page.html.j2"))


def _asset(name: str) -> str:
    return resources.files("unvanish.report.page").joinpath(name).read_text(encoding="utf-8")
