"""Renders a demo as one self-contained HTML page that loads nothing; the same demo gives the same bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from unvanish.record.demo_result import DemoResult
from unvanish.report.figures.demo.line_chart import build_line_chart_picture
from unvanish.report.figures.demo.row_chart import build_row_chart_picture
from unvanish.report.page.html_files import load_template, read_asset, write_html
from unvanish.report.views import demo_state
from unvanish.report.wording import numbers
from unvanish.report.wording.term_marker import TermMarker


def write_page(path: Path | str, demo: DemoResult) -> Path:
    """Renders the page, writes it at once as a whole, and returns its path. Raises UsageError where that is not possible."""
    return write_html(path, render_page(demo), noun="page")


def render_page(demo: DemoResult) -> str:
    """The page as HTML, about 5 MB (nearly all of it plotly, once)."""
    summary = demo.summary
    return _template().render(
        demo=demo,
        summary=summary,
        state=demo_state.DISPLAY_STATES[demo.outcome],
        notes=demo_state.list_notes(demo),
        pictures=[*map(build_row_chart_picture, summary.row_charts), *map(build_line_chart_picture, summary.line_charts)],
        facts=[("Command", demo.command), *demo.facts, ("Time taken", numbers.format_duration(demo.seconds))],
        terms=TermMarker(),
        css=Markup(read_asset("page.css")),
        script=Markup(read_asset("page.js")),
        plotly=Markup(get_plotlyjs()),
    )


@cache
def _template() -> Template:
    return load_template(
        "demo.html.j2",
        format_duration=numbers.format_duration,
        format_ending=demo_state.format_ending,
        format_score=demo_state.format_score,
    )
