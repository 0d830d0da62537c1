"""A demo as one self-contained page: everything in the file, nothing loaded, the same bytes for the same demo."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from unvanish.errors import UsageError
from unvanish.record.demo_result import Demonstration
from unvanish.report.figures.demo.board import board_picture
from unvanish.report.figures.demo.chart import chart_picture
from unvanish.report.page.run_page import drawing
from unvanish.report.views import demo_state
from unvanish.report.wording import numbers
from unvanish.report.wording.underline import Underliner


def write(path: Path | str, shown: Demonstration) -> Path:
    """The page's path, once it is complete on the disk. Raises UsageError where the folder cannot be written."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(html(shown), encoding="utf-8")
        draft.replace(target)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise UsageError(f"the page cannot be written to {target} ({fault.strerror}); choose another folder with --out") from fault
    return target


def html(shown: Demonstration) -> str:
    """The page as text, about 5 MB (nearly all of it plotly, once)."""
    story = shown.story
    return _template().render(
        shown=shown,
        story=story,
        look=demo_state.LOOKS[shown.standing],
        notes=demo_state.notes(shown),
        pictures=[*map(board_picture, story.boards), *map(chart_picture, story.charts)],
        facts=[("Command", shown.command), *shown.facts, ("Time taken", numbers.duration(shown.seconds))],
        say=Underliner(),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        plotly=Markup(get_plotlyjs()),
    )


@cache
def _template() -> Template:
    environment = Environment(loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {
        "typeset": numbers.typeset,
        "duration": numbers.duration,
        "drawing": drawing,
        "ended": demo_state.ended,
        "score": demo_state.score,
    }
    return environment.get_template("demo.html.j2")


def _asset(name: str) -> str:
    return resources.files("unvanish.report.page").joinpath(name).read_text(encoding="utf-8")
