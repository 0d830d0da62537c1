"""Renders a run as one self-contained HTML page that loads nothing; the same run and findings give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from unvanish.record.finding import Finding, Severity
from unvanish.record.run import Run
from unvanish.report.figures.gallery import build_gallery
from unvanish.report.page.html_files import load_template, read_asset, write_html
from unvanish.report.views import prescription as remedy_forecast
from unvanish.report.views import race_page_table
from unvanish.report.views.run_facts import format_header, list_facts
from unvanish.report.views.verdict_card import State, build_verdict_card, format_apply_call, format_onset
from unvanish.report.wording import locations, numbers
from unvanish.report.wording.term_marker import TermMarker

DISPLAY_STATES = {Severity.CRITICAL: State.SICK, Severity.WARNING: State.UNWELL, Severity.INFO: State.UNKNOWN}


def write_page(path: Path | str, run: Run, findings: Sequence[Finding]) -> Path:
    """Renders the page, writes it at once as a whole, and returns its path.

    Arguments:
        findings: the root cause first; may be empty.

    Raises UsageError where the folder cannot be written.
    """
    return write_html(path, render_page(run, findings), noun="report")


def render_page(run: Run, findings: Sequence[Finding]) -> str:
    """The page as HTML, about 5 MB (nearly all of it plotly, which is left out where there is no picture)."""
    gallery = build_gallery(run, findings)
    race = run.race
    return _template().render(
        run=run,
        verdict=build_verdict_card(run, findings),
        header=format_header(run),
        gallery=gallery,
        findings=findings,
        findings_title=_format_findings_title(findings),
        race=race_page_table.build_page_table(race) if race is not None else None,
        forecast=remedy_forecast,
        prescription=run.examination.prescription if run.examination is not None else None,
        facts=list_facts(run),
        terms=TermMarker(),
        css=Markup(read_asset("page.css")),
        script=Markup(read_asset("page.js")),
        plotly=Markup(get_plotlyjs()) if gallery.all_pictures() else "",
        format_source_line=partial(locations.format_source_line, script=run.facts.script),
    )


def _format_findings_title(findings: Sequence[Finding]) -> str:
    count = sum(finding.severity.loud for finding in findings)
    if not count:
        return "Noted by the way"
    return f"{numbers.spell_count(count).capitalize()} finding{'' if count == 1 else 's'} and the evidence"


@cache
def _template() -> Template:
    return load_template(
        "page.html.j2",
        format_percent=numbers.format_percent,
        format_number=numbers.format_number,
        format_sites=locations.format_sites,
        format_apply_call=format_apply_call,
        format_onset=format_onset,
        display_state=DISPLAY_STATES.__getitem__,
    )
